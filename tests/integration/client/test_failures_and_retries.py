"""The client against a server that fails as each test says: what it retries, and what it raises."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.stand_ins.authority import Authority
from vyris.client import AsyncClient, Client, Device, Tls
from vyris.device_proof import METADATA_KEY
from vyris.encounter.v1 import encounter_pb2
from vyris.error_wire import trailing_metadata
from vyris.errors import (
    Conflict,
    DropNotOpen,
    InvalidRequest,
    NotFound,
    RateLimited,
    Retryable,
    SoldOut,
    Unauthorized,
    VyrisError,
)
from vyris.mint.v1 import mint_pb2

MINT = "/vyris.mint.v1.MintService/Mint"
VERIFY = "/vyris.encounter.v1.EncounterService/VerifyEncounter"
WATCH = "/vyris.mint.v1.MintService/WatchDrop"
ANSWERS: dict[str, Any] = {
    MINT: mint_pb2.MintResponse(status="FULFILLED"),
    VERIFY: encounter_pb2.VerifyEncounterResponse(status="VERIFIED"),
}


class Peer(grpc.GenericRpcHandler):
    """Fails one call for each entry of `plan`, then succeeds; records the requests."""

    def __init__(self) -> None:
        self.plan: list[Callable[[grpc.ServicerContext], None]] = []
        self.metadata: list[dict[str, str | bytes]] = []
        self.port = 0

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any]:
        path = str(handler_call_details.method)

        def answer(request: bytes, context: grpc.ServicerContext) -> bytes:
            self.metadata.append({str(key): value for key, value in context.invocation_metadata()})
            if self.plan:
                self.plan.pop(0)(context)
            packed: bytes = ANSWERS[path].SerializeToString()
            return packed

        def stream(request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
            for remaining in (3, 2):
                seen = mint_pb2.GetDropResponse(remaining=remaining)
                yield mint_pb2.WatchDropResponse(drop=seen).SerializeToString()
            if self.plan:
                self.plan.pop(0)(context)

        if path == WATCH:
            return grpc.unary_stream_rpc_method_handler(stream)
        return grpc.unary_unary_rpc_method_handler(answer)


def with_error(error: VyrisError) -> Callable[[grpc.ServicerContext], None]:
    def fail(context: grpc.ServicerContext) -> None:
        context.set_trailing_metadata(trailing_metadata(error))
        context.abort(error.grpc_code, error.message)

    return fail


def with_code(code: grpc.StatusCode) -> Callable[[grpc.ServicerContext], None]:
    return lambda context: context.abort(code, "said by gRPC itself")


@pytest.fixture
def peer() -> Iterator[Peer]:
    peer = Peer()
    server = grpc.server(futures.ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((peer,))
    peer.port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield peer
    server.stop(None)


@pytest.fixture
def client(peer: Peer) -> Iterator[Client]:
    with Client(f"127.0.0.1:{peer.port}", timeout_s=8) as client:
        yield client


@pytest.fixture
async def async_client(peer: Peer) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(f"127.0.0.1:{peer.port}", timeout_s=8) as client:
        yield client


def test_a_mint_is_sent_again_while_the_service_is_unavailable(peer: Peer, client: Client) -> None:
    peer.plan = [with_error(Retryable.shed()), with_code(grpc.StatusCode.UNAVAILABLE)]
    assert client.mint("r", "u").status == "FULFILLED"
    assert len(peer.metadata) == 3
    assert len({sent["x-request-id"] for sent in peer.metadata}) == 1


async def test_the_async_client_does_the_same(peer: Peer, async_client: AsyncClient) -> None:
    peer.plan = [with_error(Retryable.shed())]
    assert (await async_client.mint("r", "u")).status == "FULFILLED"
    assert len(peer.metadata) == 2


def test_a_mint_is_not_sent_for_ever(peer: Peer, client: Client) -> None:
    peer.plan = [with_error(Retryable.shed(retry_after_s=3))] * 9
    with pytest.raises(Retryable) as refusal:
        client.mint("r", "u")
    assert len(peer.metadata) == 4
    assert (refusal.value.http_status, refusal.value.retry_after_s) == (503, 3)


def test_a_token_that_works_once_is_sent_once(peer: Peer, client: Client) -> None:
    peer.plan = [with_code(grpc.StatusCode.UNAVAILABLE)]
    with pytest.raises(Retryable):
        client.verify_encounter("t")
    assert len(peer.metadata) == 1


@pytest.mark.parametrize(
    "error",
    [SoldOut(), DropNotOpen(retryable=True), Conflict(), RateLimited(retry_after_s=7), Unauthorized("Because")],
    ids=lambda error: error.reason,
)
def test_an_error_arrives_as_its_class_with_its_details(peer: Peer, client: Client, error: VyrisError) -> None:
    peer.plan = [with_error(error)]
    with pytest.raises(type(error)) as refusal:
        client.mint("r", "u", request_id="my-own-id")
    raised = refusal.value
    assert (raised.reason, raised.message, raised.retryable) == (error.reason, error.message, error.retryable)
    assert raised.retry_after_s == error.retry_after_s
    assert raised.request_id == "my-own-id"
    assert peer.metadata[0]["x-request-id"] == "my-own-id"


async def test_the_async_clients_errors_are_the_same(peer: Peer, async_client: AsyncClient) -> None:
    peer.plan = [with_error(SoldOut())]
    with pytest.raises(SoldOut) as refusal:
        await async_client.mint("r", "u", request_id="x")
    assert (refusal.value.request_id, refusal.value.retryable) == ("x", False)


@pytest.mark.parametrize(
    ("code", "reason", "retryable"),
    [
        (grpc.StatusCode.INTERNAL, "RETRYABLE", True),
        (grpc.StatusCode.UNKNOWN, "RETRYABLE", True),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED", True),
        (grpc.StatusCode.NOT_FOUND, "NOT_FOUND", False),
        (grpc.StatusCode.UNIMPLEMENTED, "NOT_FOUND", False),
        (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHORIZED", False),
        (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST", False),
    ],
)
def test_statuses_of_grpcs_own_become_errors_too(
    peer: Peer, client: Client, code: grpc.StatusCode, reason: str, retryable: bool
) -> None:
    peer.plan = [with_code(code)]
    with pytest.raises(VyrisError) as refusal:
        client.verify_encounter("t")
    assert (refusal.value.reason, refusal.value.retryable) == (reason, retryable)
    assert "gRPC" not in refusal.value.message


def test_a_message_that_is_too_large_for_grpc_itself_is_not_worth_a_retry(peer: Peer, client: Client) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        client.mint("x" * (5 << 20), "u")
    assert (refusal.value.http_status, refusal.value.retryable) == (413, False)


def test_an_address_that_serves_something_else_says_where_clients_go(peer: Peer, client: Client) -> None:
    peer.plan = [with_code(grpc.StatusCode.UNIMPLEMENTED)]
    with pytest.raises(NotFound, match=r"no such call .*localhost:3001"):
        client.verify_encounter("t")


def test_a_deadline_is_kept(peer: Peer, client: Client) -> None:
    done = threading.Event()
    peer.plan = [lambda _: done.wait(5) and None]
    with pytest.raises(Retryable) as refusal:
        client.verify_encounter("t", timeout_s=0.3)
    assert refusal.value.http_status == 504
    done.set()


def test_an_unreachable_service_is_retryable() -> None:
    with Client("127.0.0.1:9", timeout_s=3) as client, pytest.raises(Retryable) as refusal:
        client.verify_encounter("t")
    assert refusal.value.http_status == 503
    assert refusal.value.request_id


@pytest.mark.parametrize("target", ["http://localhost:3000", "https://api.example"])
def test_a_malformed_url_is_refused_with_the_right_form(target: str) -> None:
    for kind in (Client, AsyncClient):
        with pytest.raises(ValueError, match="host:port of the gateway's native gRPC"):
            kind(target)


def test_a_request_id_that_cannot_travel_is_refused_before_anything_is_sent(peer: Peer, client: Client) -> None:
    with pytest.raises(ValueError, match="printable ASCII"):
        client.mint("receipt-1", "ada", request_id="one\ntwo")
    assert peer.metadata == []


def test_a_device_signs_each_request_separately(peer: Peer, client: Client) -> None:
    device = Device.generate("phone-a")
    for _ in range(2):
        client.verify_encounter("t", device=device)
    first, second = (sent[METADATA_KEY] for sent in peer.metadata)
    assert first != second


def test_a_device_is_read_back_from_its_key() -> None:
    device = Device.generate("phone-a")
    assert Device.from_pem("phone-a", device.private_key_pem).public_key_pem == device.public_key_pem
    assert "key" not in repr(device)
    with pytest.raises(ValueError, match="PEM"):
        Device.from_pem("phone-a", b"nothing")


def test_a_watch_yields_and_then_raises_why_it_ended(peer: Peer, client: Client) -> None:
    peer.plan = [with_error(Retryable())]
    seen = []
    with pytest.raises(Retryable):
        for drop in client.watch_drop("genesis", "2025"):
            seen.append(drop.remaining)
    assert seen == [3, 2]


async def test_an_async_watch_does_the_same(peer: Peer, async_client: AsyncClient) -> None:
    peer.plan = [with_error(Retryable())]
    seen = []
    with pytest.raises(Retryable):
        async for drop in async_client.watch_drop("genesis", "2025"):
            seen.append(drop.remaining)
    assert seen == [3, 2]


async def test_many_calls_share_one_client(peer: Peer, async_client: AsyncClient) -> None:
    answers = await asyncio.gather(*(async_client.mint(f"r{number}", "u") for number in range(50)))
    assert len(answers) == 50
    assert len({sent["x-request-id"] for sent in peer.metadata}) == 50


@pytest.fixture
def tls_peer(peer: Peer, tmp_path: Path) -> Iterator[tuple[Peer, Tls]]:
    """Also listens with TLS, and asks for the caller's certificate."""
    authority = Authority(tmp_path)
    certificate, key = (path.read_bytes() for path in authority.issue("peer", "localhost"))
    mine, my_key = (path.read_bytes() for path in authority.issue("caller", "caller"))
    root = authority.ca_file.read_bytes()
    server = grpc.server(futures.ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((peer,))
    credentials = grpc.ssl_server_credentials([(key, certificate)], root, require_client_auth=True)
    peer.port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    yield peer, Tls(root_certificates=root, private_key=my_key, certificate_chain=mine)
    server.stop(None)


async def test_tls_with_a_certificate_of_ones_own(tls_peer: tuple[Peer, Tls]) -> None:
    peer, tls = tls_peer
    with Client(f"localhost:{peer.port}", tls=tls) as client:
        assert client.mint("r", "u").status == "FULFILLED"
    async with AsyncClient(f"localhost:{peer.port}", tls=tls) as client:
        assert (await client.mint("r", "u")).status == "FULFILLED"


def test_an_authority_that_the_system_does_not_know_is_not_trusted(tls_peer: tuple[Peer, Tls]) -> None:
    with (
        Client(f"localhost:{tls_peer[0].port}", tls=True, timeout_s=2) as client,
        pytest.raises(Retryable),
    ):
        client.verify_encounter("t")
