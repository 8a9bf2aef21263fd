"""A device that a mint names is enrolled only with a proof by its own key in the same request."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import grpc
import httpx
import pytest

from stack.local import Stack
from tests.plain_http import NO_TLS
from tests.signers.mint import MINT, proof_headers
from vyris.client import Client, Device
from vyris.device_proof import Target, http_target
from vyris.error_wire import from_rpc_error
from vyris.errors import Unauthorized
from vyris.mint.v1 import mint_pb2, mint_pb2_grpc


@pytest.fixture
async def gateway(stack: Stack) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=stack.gateway_url, timeout=20, verify=NO_TLS) as client:
        yield client


def mint_request(device: Device, **changes: Any) -> dict[str, Any]:
    return {
        "receipt_data": f"receipt-{uuid.uuid4()}",
        "user_id": "ada",
        "device": {"device_id": device.device_id, "public_key": device.public_key_pem},
        **changes,
    }


def address(stack: Stack) -> Target:
    target = http_target(f"http://localhost:{stack.settings.gateway_port}", MINT, mint_pb2.MintRequest())
    assert target is not None
    return target


async def refusal(gateway: httpx.AsyncClient, body: dict[str, Any], headers: dict[str, str]) -> str:
    answer = await gateway.post("/mint", json=body, headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (401, "UNAUTHORIZED"), answer.text
    return str(answer.json()["message"])


async def count_rows(database: asyncpg.Connection) -> tuple[int, int]:
    row = await database.fetchrow("SELECT (SELECT count(*) FROM receipt_ledger), (SELECT count(*) FROM devices)")
    return tuple(row)


async def test_a_proof_by_the_devices_key_enrols_it(
    stack: Stack, gateway: httpx.AsyncClient, database: asyncpg.Connection
) -> None:
    device = Device.generate("phone")
    body = mint_request(device)
    answer = await gateway.post("/mint", json=body, headers=proof_headers(body, device.key, address(stack)))
    assert answer.status_code == 201, answer.text
    membership_id = uuid.UUID(answer.json()["membership"]["id"])
    assert await database.fetchval("SELECT device_id FROM devices WHERE membership_id = $1", membership_id) == "phone"


async def test_without_a_proof_nothing_is_written(gateway: httpx.AsyncClient, database: asyncpg.Connection) -> None:
    device = Device.generate("phone")
    body = mint_request(device)
    before = await count_rows(database)
    assert "key of the device is required" in await refusal(gateway, body, {})
    assert await count_rows(database) == before
    # Anybody can still mint with the receipt: nothing was entered.
    answer = await gateway.post("/mint", json={"receipt_data": body["receipt_data"], "user_id": "ben"})
    assert (answer.status_code, answer.json()["replayed"]) == (201, False)


async def test_every_proof_that_is_not_this_devices_for_this_request_is_refused(
    stack: Stack, gateway: httpx.AsyncClient, database: asyncpg.Connection
) -> None:
    device, thief = Device.generate("phone"), Device.generate("phone")
    body, target = mint_request(device), address(stack)
    now_s = int(time.time())
    proofs = {
        "another key": proof_headers(body, thief.key, target),
        "another receipt": proof_headers(mint_request(device), device.key, target),
        "another user": proof_headers({**body, "user_id": "eve"}, device.key, target),
        "another device": proof_headers(mint_request(thief, receipt_data=body["receipt_data"]), device.key, target),
        "another path": proof_headers(body, device.key, Target("POST", target.htu.replace("/mint", "/issue-pass"))),
        "another method": proof_headers(body, device.key, Target("PUT", target.htu)),
        "another host": proof_headers(body, device.key, Target("POST", "https://evil.example/mint")),
        "too old": proof_headers(body, device.key, target, issued_at_s=now_s - 75),
        "in the future": proof_headers(body, device.key, target, issued_at_s=now_s + 75),
        "nonsense": {"dpop": "a.b.c"},
        "empty": {"dpop": ""},
    }
    before = await count_rows(database)
    for headers in proofs.values():
        await refusal(gateway, body, headers)
    assert await count_rows(database) == before
    answer = await gateway.post("/mint", json=body, headers=proof_headers(body, device.key, target))
    assert answer.status_code == 201


async def test_the_same_bytes_sent_again_are_a_replay_and_so_is_a_new_proof(
    stack: Stack, gateway: httpx.AsyncClient, database: asyncpg.Connection
) -> None:
    device = Device.generate("phone")
    body = mint_request(device)
    headers = proof_headers(body, device.key, address(stack))
    first, again = [await gateway.post("/mint", json=body, headers=headers) for _ in range(2)]
    fresh = await gateway.post("/mint", json=body, headers=proof_headers(body, device.key, address(stack)))
    # A year later the proof in the same bytes is too old to enrol a device.
    old = proof_headers(body, device.key, address(stack), issued_at_s=int(time.time()) - 31_536_000)
    late = await gateway.post("/mint", json=body, headers=old)
    assert [answer.status_code for answer in (first, again, fresh, late)] == [201] * 4
    assert [answer.json()["replayed"] for answer in (first, again, fresh, late)] == [False, True, True, True]
    assert len({answer.json()["membership"]["id"] for answer in (first, again, fresh, late)}) == 1
    count = await database.fetchval(
        "SELECT count(*) FROM devices WHERE membership_id = $1", uuid.UUID(first.json()["membership"]["id"])
    )
    assert count == 1


async def test_a_replay_cannot_change_the_device_and_needs_its_proof(
    gateway: httpx.AsyncClient, database: asyncpg.Connection
) -> None:
    device, other = Device.generate("phone"), Device.generate("other")
    body = mint_request(device)
    first = await gateway.post("/mint", json=body, headers=proof_headers(body, device.key))
    body = mint_request(other, receipt_data=body["receipt_data"])
    await refusal(gateway, body, {})
    replay = await gateway.post("/mint", json=body, headers=proof_headers(body, other.key))
    assert (replay.status_code, replay.json()["replayed"]) == (201, True)
    enrolled = await database.fetch(
        "SELECT device_id FROM devices WHERE membership_id = $1", uuid.UUID(first.json()["membership"]["id"])
    )
    assert [row["device_id"] for row in enrolled] == ["phone"]


async def test_shape_and_drop_come_before_the_proof_and_the_receipts_owner_after_it(gateway: httpx.AsyncClient) -> None:
    device = Device.generate("phone")
    for changes, status in (({"receipt_data": ""}, 422), ({"tier": "nowhere", "year": "2025"}, 404)):
        assert (await gateway.post("/mint", json=mint_request(device, **changes))).status_code == status
    body = mint_request(device)
    await gateway.post("/mint", json=body, headers=proof_headers(body, device.key))
    stolen = {**body, "user_id": "eve"}
    await refusal(gateway, stolen, {})
    assert (await gateway.post("/mint", json=stolen, headers=proof_headers(stolen, device.key))).status_code == 409


async def test_native_grpc_needs_the_same_proof(stack: Stack) -> None:
    device = Device.generate("phone")
    request = mint_pb2.MintRequest(
        receipt_data=f"receipt-{uuid.uuid4()}",
        user_id="ada",
        device=mint_pb2.Device(device_id="phone", public_key=device.public_key_pem),
    )
    async with grpc.aio.insecure_channel(stack.gateway_grpc_target) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await mint_pb2_grpc.MintServiceStub(channel).Mint(request, timeout=20)
    error = failure.value
    assert isinstance(
        from_rpc_error(error.code(), error.details() or "", tuple(error.trailing_metadata() or ())), Unauthorized
    )
    with Client(stack.gateway_grpc_target) as client:
        assert client.mint(request.receipt_data, "ada", device=device).status == "FULFILLED"
