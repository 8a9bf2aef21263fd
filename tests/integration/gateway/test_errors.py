"""Every error body has exactly three keys, by a service or by the gateway."""

from __future__ import annotations

import asyncio

import grpc
import httpx
import pytest

from tests.integration.gateway.contract import assert_error, assert_nothing_private
from tests.integration.gateway.peers import Services, aborting, raising, sleeping, start_service
from vyris.errors import ERRORS_BY_REASON, DropNotOpen, NotFound, RateLimited, Retryable, VyrisError

EVERY_ERROR = [
    *(kind() for kind in ERRORS_BY_REASON.values()),
    Retryable.shed(3),
    Retryable(http_status=504),
    DropNotOpen(retryable=True),
    RateLimited(retry_after_s=9),
]


@pytest.mark.parametrize("error", EVERY_ERROR, ids=lambda error: f"{error.reason}-{error.http_status}")
@pytest.mark.parametrize(("rpc", "path"), [("Mint", "/mint"), ("IssuePass", "/issue-pass")])
async def test_an_error_of_a_service_is_passed_on_unchanged(
    services: Services, json_api: httpx.AsyncClient, error: VyrisError, rpc: str, path: str
) -> None:
    services.on(rpc, raising(error))
    answer = await json_api.post(path, json={})
    body = assert_error(answer, error.http_status, error.reason, retryable=error.retryable)
    assert body["message"] == error.message
    wanted = None if error.retry_after_s is None else str(error.retry_after_s)
    assert answer.headers.get("retry-after") == wanted
    assert_nothing_private(answer)


@pytest.mark.parametrize("message", ['say "no" \\ or\n\tnever', "Größe €", "100 % %41", "\x01\x7f"])
async def test_messages_survive_grpc_and_json(services: Services, json_api: httpx.AsyncClient, message: str) -> None:
    services.on("Mint", raising(NotFound(message)))
    assert (await json_api.post("/mint", json={})).json()["message"] == message


STATUSES = {
    grpc.StatusCode.CANCELLED: (500, "RETRYABLE", True),
    grpc.StatusCode.UNKNOWN: (500, "RETRYABLE", True),
    grpc.StatusCode.INVALID_ARGUMENT: (422, "INVALID_REQUEST", False),
    grpc.StatusCode.DEADLINE_EXCEEDED: (504, "RETRYABLE", True),
    grpc.StatusCode.NOT_FOUND: (404, "NOT_FOUND", False),
    grpc.StatusCode.ALREADY_EXISTS: (500, "RETRYABLE", True),
    grpc.StatusCode.PERMISSION_DENIED: (500, "RETRYABLE", True),
    grpc.StatusCode.RESOURCE_EXHAUSTED: (503, "RETRYABLE", True),
    grpc.StatusCode.FAILED_PRECONDITION: (500, "RETRYABLE", True),
    grpc.StatusCode.ABORTED: (500, "RETRYABLE", True),
    grpc.StatusCode.OUT_OF_RANGE: (500, "RETRYABLE", True),
    grpc.StatusCode.UNIMPLEMENTED: (404, "NOT_FOUND", False),
    grpc.StatusCode.INTERNAL: (500, "RETRYABLE", True),
    grpc.StatusCode.UNAVAILABLE: (503, "RETRYABLE", True),
    grpc.StatusCode.DATA_LOSS: (500, "RETRYABLE", True),
    grpc.StatusCode.UNAUTHENTICATED: (401, "UNAUTHORIZED", False),
}


@pytest.mark.parametrize("code", STATUSES)
async def test_a_bare_grpc_status_becomes_the_fitting_error(
    services: Services, json_api: httpx.AsyncClient, code: grpc.StatusCode
) -> None:
    services.on("Mint", aborting(code))
    answer = await json_api.post("/mint", json={})
    status, error, retryable = STATUSES[code]
    assert_error(answer, status, error, retryable=retryable)
    assert "10.1.2.3" not in answer.text
    assert ("retry-after" in answer.headers) is (status == 503)


async def test_an_exception_in_a_service_reveals_nothing_about_the_inside(
    services: Services, json_api: httpx.AsyncClient
) -> None:
    async def crash(request: object, context: object) -> object:
        raise ValueError("password=hunter2")

    services.on("Mint", crash)
    answer = await json_api.post("/mint", json={})
    assert_error(answer, 500, "RETRYABLE", retryable=True)
    assert "hunter2" not in answer.text


async def test_an_error_after_initial_metadata_is_never_sent_as_a_success(
    services: Services, json_api: httpx.AsyncClient
) -> None:
    async def late(request: object, context: grpc.aio.ServicerContext) -> object:  # type: ignore[type-arg]
        await context.send_initial_metadata((("x-http-status", "201"),))
        await context.abort(grpc.StatusCode.NOT_FOUND, "late")

    services.on("IssuePass", late)
    answer = await json_api.post("/issue-pass", json={})
    assert answer.status_code == 404
    assert_nothing_private(answer)


async def test_a_service_that_is_too_slow_is_504(services: Services, json_api: httpx.AsyncClient) -> None:
    services.on("Mint", sleeping(4))
    assert_error(await json_api.post("/mint", json={}), 504, "RETRYABLE", retryable=True)


NO_SUCH = [
    ("GET", "/"),
    ("GET", "/nope"),
    ("GET", "/mint"),
    ("PUT", "/mint"),
    ("PATCH", "/mint"),
    ("DELETE", "/mint"),
    ("OPTIONS", "/mint"),
    ("POST", "/mint/"),
    ("POST", "/Mint"),
    ("POST", "/mint;a=b"),
    ("POST", "/health"),
    ("GET", "/drops/genesis"),
    ("GET", "/drops/genesis/2025/"),
    ("GET", "/drops//2025"),
    ("GET", "/drops/a%2Fb/2025"),
    ("GET", "/drops/..%2f2025/x"),
    ("POST", "/vyris.mint.v1.MintService/Mint"),
    ("POST", "/grpc.health.v1.Health/Check"),
    ("POST", "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"),
    ("TRACE", "/mint"),
]


@pytest.mark.parametrize(("method", "path"), NO_SUCH)
async def test_unknown_paths_and_wrong_methods_are_not_found(
    services: Services, json_api: httpx.AsyncClient, method: str, path: str
) -> None:
    assert_error(await json_api.request(method, path, content=b""), 404, "NOT_FOUND")
    assert services.calls == []


async def test_head_is_not_found_without_a_body(json_api: httpx.AsyncClient) -> None:
    answer = await json_api.head("/drops/genesis/2025")
    assert answer.status_code == 404
    assert answer.content == b""


async def test_an_unreachable_service_is_503_and_comes_back(services: Services, json_api: httpx.AsyncClient) -> None:
    await services.servers["encounter"].stop(0)
    try:
        answer = await json_api.post("/encounters/verify", json={})
        assert_error(answer, 503, "RETRYABLE", retryable=True)
        assert answer.headers["retry-after"] == "1"
        assert "127.0.0.1" not in answer.text
        assert (await json_api.post("/mint", json={})).status_code == 201
    finally:
        await start_service(services, "encounter", port=services.ports["encounter"])
    for _ in range(100):
        await asyncio.sleep(0.1)
        answer = await json_api.post("/encounters/verify", json={})
        if answer.status_code == 201:
            break
    assert answer.status_code == 201


async def test_a_service_that_dies_during_a_call_leaves_a_retryable_error(
    services: Services, json_api: httpx.AsyncClient
) -> None:
    begun = asyncio.Event()

    async def hang(request: object, context: object) -> None:
        begun.set()
        await asyncio.sleep(30)

    services.on("VerifyEncounter", hang)
    call = asyncio.create_task(json_api.post("/encounters/verify", json={}))
    await asyncio.wait_for(begun.wait(), 5)
    await services.servers["encounter"].stop(0)
    answer = await call
    await start_service(services, "encounter", port=services.ports["encounter"])
    assert answer.status_code in {500, 503}
    assert_error(answer, answer.status_code, "RETRYABLE", retryable=True)
