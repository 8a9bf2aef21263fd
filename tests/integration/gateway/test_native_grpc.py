"""The native listener: calls pass unchanged, by service name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.integration.gateway.peers import (
    Gateway,
    Services,
    raising,
    sleeping,
    start_service,
)
from vyris.encounter.v1 import encounter_pb2, encounter_pb2_grpc
from vyris.error_wire import from_rpc_error
from vyris.errors import ERRORS_BY_REASON, VyrisError
from vyris.mint.v1 import mint_pb2, mint_pb2_grpc

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture
async def channel(gateway: Gateway, services: Services) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(gateway.grpc_target) as opened:
        yield opened


async def _failure(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def test_each_service_is_reached_by_its_name(services: Services, channel: grpc.aio.Channel) -> None:
    minted = await mint_pb2_grpc.MintServiceStub(channel).Mint(mint_pb2.MintRequest(user_id="u"))
    assert minted.membership.sequence_num == 7
    request = encounter_pb2.VerifyEncounterRequest(token="t")
    verified = await encounter_pb2_grpc.EncounterServiceStub(channel).VerifyEncounter(request)
    assert verified.status == "VERIFIED"
    assert [call.rpc.split("/")[1] for call in services.calls] == [
        "vyris.mint.v1.MintService",
        "vyris.encounter.v1.EncounterService",
    ]


async def test_a_stream_arrives_message_by_message(channel: grpc.aio.Channel) -> None:
    request = mint_pb2.WatchDropRequest(tier="genesis")
    counts = [answer.drop.minted async for answer in mint_pb2_grpc.MintServiceStub(channel).WatchDrop(request)]
    assert counts == [0, 1, 2]


@pytest.mark.parametrize("kind", ERRORS_BY_REASON.values(), ids=lambda kind: kind.reason)
async def test_errors_arrive_with_their_details(
    services: Services, channel: grpc.aio.Channel, kind: type[VyrisError]
) -> None:
    services.on("Mint", raising(kind()))
    failure = await _failure(mint_pb2_grpc.MintServiceStub(channel).Mint(mint_pb2.MintRequest()))
    error = from_rpc_error(failure.code(), failure.details() or "", tuple(failure.trailing_metadata()))
    assert type(error) is kind
    assert failure.details() == kind().message


async def test_an_unknown_method_is_unimplemented(channel: grpc.aio.Channel) -> None:
    for path in (
        "/vyris.mint.v1.MintService/Nope",
        "/vyris.nope.v1.Nope/Nope",
        "/mint",
        "/grpc.channelz.v1.Channelz/X",
    ):
        failure = await _failure(channel.unary_unary(path)(b""))
        assert failure.code() is grpc.StatusCode.UNIMPLEMENTED
        assert "{" not in (failure.details() or "")


async def test_a_caller_cannot_pose_as_the_json_gateway(services: Services, channel: grpc.aio.Channel) -> None:
    forged = (("x-envoy-original-path", "/mint"), ("x-vyris-health-service", "x"), ("x-request-id", "mine"))
    await mint_pb2_grpc.MintServiceStub(channel).Mint(mint_pb2.MintRequest(), metadata=forged)
    metadata = services.calls[-1].metadata
    assert "x-envoy-original-path" not in metadata
    assert "x-vyris-health-service" not in metadata
    assert metadata["x-request-id"] == "mine"


async def test_a_service_that_is_too_slow_fails_without_json(services: Services, channel: grpc.aio.Channel) -> None:
    services.on("Mint", sleeping(4))
    failure = await _failure(mint_pb2_grpc.MintServiceStub(channel).Mint(mint_pb2.MintRequest()))
    assert failure.code() in {grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE}
    assert "{" not in (failure.details() or "")


async def test_an_unreachable_service_is_unavailable_and_its_address_stays_hidden(
    services: Services, channel: grpc.aio.Channel
) -> None:
    await services.servers["encounter"].stop(0)
    try:
        stub = encounter_pb2_grpc.EncounterServiceStub(channel)
        failure = await _failure(stub.VerifyEncounter(encounter_pb2.VerifyEncounterRequest()))
    finally:
        await start_service(services, "encounter", port=services.ports["encounter"])
    assert failure.code() is grpc.StatusCode.UNAVAILABLE
    assert failure.details() == "The service cannot be reached; send the same request again"


HEALTH_NAMES = [
    ("vyris.mint.v1.MintService", "mint"),
    ("vyris.suite.v1.SuiteService", "mint"),
    ("vyris.encounter.v1.EncounterService", "encounter"),
    ("vyris.wallet.v1.WalletService", "wallet"),
    ("vyris.reforge.v1.ReforgeService", "reforge"),
]


@pytest.mark.parametrize(("name", "process"), HEALTH_NAMES)
async def test_health_is_asked_by_full_service_name(
    services: Services, channel: grpc.aio.Channel, name: str, process: str
) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    assert (await stub.Check(health_pb2.HealthCheckRequest(service=name))).status == SERVING
    await services.health[process].set(name, NOT_SERVING)
    try:
        assert (await stub.Check(health_pb2.HealthCheckRequest(service=name))).status == NOT_SERVING
        others = [other for other, _ in HEALTH_NAMES if other != name]
        for other in others:
            assert (await stub.Check(health_pb2.HealthCheckRequest(service=other))).status == SERVING
    finally:
        await services.health[process].set(name, SERVING)


async def test_health_of_the_empty_name_is_served_and_of_an_unknown_one_not_found(channel: grpc.aio.Channel) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    assert (await stub.Check(health_pb2.HealthCheckRequest())).status == SERVING
    for name in ("vyris.nope.v1.Nope", "x" * 300, "a\r\nb: c", "é"):
        failure = await _failure(stub.Check(health_pb2.HealthCheckRequest(service=name)))
        assert failure.code() is grpc.StatusCode.NOT_FOUND


async def test_health_can_be_watched(services: Services, channel: grpc.aio.Channel) -> None:
    name = "vyris.wallet.v1.WalletService"
    watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=name))
    seen = []
    async for update in watch:
        seen.append(update.status)
        if len(seen) == 3:
            break
        await services.health["wallet"].set(name, NOT_SERVING if len(seen) == 1 else SERVING)
    watch.cancel()
    assert seen == [SERVING, NOT_SERVING, SERVING]


async def test_http1_is_not_spoken_here(gateway: Gateway) -> None:
    async with httpx.AsyncClient() as client:
        with pytest.raises(httpx.HTTPError):
            await client.get(f"http://{gateway.grpc_target}/")
