"""A caller that sends any bytes gets the contract's answer: never a 5xx, never its own bytes back."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.integration.gateway.contract import assert_error
from tests.integration.gateway.peers import Gateway, Services, raw_exchange

LIMIT = 64 * 1024
MARK = "c0ffee-marker"

REFUSED_BODIES = {
    "not JSON": f"{MARK}".encode(),
    "cut off": f'{{"receipt_data": "{MARK}'.encode(),
    "wrong type": f'{{"receipt_data": {{"{MARK}": 1}}}}'.encode(),
    "array for text": f'{{"receipt_data": ["{MARK}"]}}'.encode(),
    "array at the top": f'["{MARK}"]'.encode(),
    "text at the top": f'"{MARK}"'.encode(),
    "number too large": b'{"device": 1e400}',
    "text that is not UTF-8": b'{"receipt_data": "\xff\xfe\xc3\x28"}',
    "overlong UTF-8": b'{"receipt_data": "\xc0\xaf"}',
    "control characters": b'{"receipt_data": \x01\x02}',
    "nothing but NUL": b"\x00" * 10,
    "form": f"receipt_data={MARK}".encode(),
    "gzip": b"\x1f\x8b\x08\x00\x00\x00\x00\x00",
    "two documents": f'{{"user_id":"{MARK}"}}{{"user_id":"x"}}'.encode(),
    "deep in a known field": b'{"device":' * 200 + b"1" + b"}" * 200,
}


@pytest.mark.parametrize("name", REFUSED_BODIES)
async def test_a_body_that_is_not_the_message_is_422(
    services: Services, json_api: httpx.AsyncClient, name: str
) -> None:
    answer = await json_api.post("/mint", content=REFUSED_BODIES[name], headers={"content-type": "application/json"})
    assert_error(answer, 422, "INVALID_REQUEST")
    assert MARK not in answer.text
    assert services.calls == []


@pytest.mark.parametrize("depth", [70, 5000])
async def test_deep_nesting_never_reaches_a_service_as_an_error(
    services: Services, json_api: httpx.AsyncClient, depth: int
) -> None:
    answer = await json_api.post("/mint", content=b'{"unknown":' * depth + b"1" + b"}" * depth)
    assert answer.status_code in {201, 422}


async def test_of_duplicate_keys_the_last_wins(services: Services, json_api: httpx.AsyncClient) -> None:
    await json_api.post("/mint", content=b'{"user_id":"a","user_id":"b"}')
    assert services.calls[-1].request.user_id == "b"


@pytest.mark.parametrize(
    "kind", ["text/plain", "", "application/json; charset=utf-16", "image/png", "Application/GRPC"]
)
async def test_the_content_type_of_json_does_not_matter(
    services: Services, json_api: httpx.AsyncClient, kind: str
) -> None:
    answer = await json_api.post("/mint", content=b'{"user_id":"a"}', headers={"content-type": kind})
    assert answer.status_code == 201


def _body(size: int) -> bytes:
    envelope = b'{"receipt_data":""}'
    return envelope[:-2] + b"a" * (size - len(envelope)) + envelope[-2:]


async def test_64_kib_are_accepted(services: Services, json_api: httpx.AsyncClient) -> None:
    assert (await json_api.post("/mint", content=_body(LIMIT))).status_code == 201
    assert len(services.calls[-1].request.receipt_data) == LIMIT - 19


@pytest.mark.parametrize("path", ["/mint", "/mint?x=y", "/issue-pass"])
@pytest.mark.parametrize("size", [LIMIT + 1, 100_000, 1 << 20])
async def test_a_body_over_64_kib_is_413(services: Services, json_api: httpx.AsyncClient, size: int, path: str) -> None:
    assert_error(await json_api.post(path, content=_body(size)), 413, "INVALID_REQUEST")
    assert services.calls == []


@pytest.mark.parametrize("size", [LIMIT + 1, 1 << 20])
async def test_a_chunked_body_over_64_kib_is_413(services: Services, gateway: Gateway, size: int) -> None:
    body = _body(size)
    chunks = b"".join(
        b"%x\r\n%s\r\n" % (len(part), part) for part in (body[i : i + 4096] for i in range(0, size, 4096))
    )
    head = b"POST /mint HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    received = await raw_exchange(gateway.settings.gateway_port, head + chunks + b"0\r\n\r\n", 2, ends=True)
    assert received.startswith(b"HTTP/1.1 413 ")
    assert b'{"error":"INVALID_REQUEST"' in received
    assert services.calls == []


async def test_a_chunked_body_within_the_limit_is_accepted(services: Services, gateway: Gateway) -> None:
    head = b"POST /mint HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
    received = await raw_exchange(gateway.settings.gateway_port, head + b"2\r\n{}\r\n0\r\n\r\n")
    assert received.startswith(b"HTTP/1.1 201 ")


async def test_a_body_that_never_ends_is_given_up(services: Services, gateway: Gateway) -> None:
    head = b"POST /mint HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{"
    received = await raw_exchange(gateway.settings.gateway_port, head, 5)
    assert received.startswith(b"HTTP/1.1 504 ")
    assert b'"error":"RETRYABLE"' in received


REFUSED_BYTES = {
    "garbage": b"GARBAGE\r\n\r\n",
    "TLS hello": b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03" + b"\x00" * 64,
    "HTTP/1.0, length and chunks": (
        b"POST /mint HTTP/1.0\r\nhost: x\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n{}"
    ),
    "no host": b"POST /mint HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}",
    "two lengths": b"POST /mint HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}",
    "length and chunks": b"POST /mint HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n{}",
    "bad length": b"POST /mint HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n{}",
    "bad chunk": b"POST /mint HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    "unknown coding": b"POST /mint HTTP/1.1\r\nhost: x\r\ntransfer-encoding: br\r\n\r\n",
    "NUL in a header": b"POST /mint HTTP/1.1\r\nhost: x\r\nx: \x00\r\ncontent-length: 2\r\n\r\n{}",
    "space before the colon": b"POST /mint HTTP/1.1\r\nhost: x\r\nx : y\r\ncontent-length: 2\r\n\r\n{}",
    "header with an underscore": b"POST /mint HTTP/1.1\r\nhost: x\r\nx_y: z\r\ncontent-length: 2\r\n\r\n{}",
    "huge header": b"POST /mint HTTP/1.1\r\nhost: x\r\nx: " + b"a" * 70_000 + b"\r\ncontent-length: 2\r\n\r\n{}",
    "huge path": b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n",
    "many headers": b"GET /health HTTP/1.1\r\nhost: x\r\n" + b"".join(b"x%d: y\r\n" % i for i in range(200)) + b"\r\n",
    "fragment": b"GET /health#x HTTP/1.1\r\nhost: x\r\n\r\n",
    "unknown method": b"BREW /mint HTTP/1.1\r\nhost: x\r\n\r\n",
    "CONNECT": b"CONNECT 10.0.0.1:22 HTTP/1.1\r\nhost: 10.0.0.1:22\r\n\r\n",
}


@pytest.mark.parametrize("name", REFUSED_BYTES)
async def test_bytes_that_are_no_request_never_reach_a_service(services: Services, gateway: Gateway, name: str) -> None:
    received = await raw_exchange(gateway.settings.gateway_port, REFUSED_BYTES[name], ends=True)
    assert services.calls == []
    status = received.split(b" ", 2)[1]
    assert status in {b"404", b"422"}, received
    assert received.partition(b"\r\n\r\n")[2].startswith((b'{"error":"INVALID_REQUEST"', b'{"error":"NOT_FOUND"'))


async def test_http_1_0_is_answered_and_the_connection_closed(services: Services, gateway: Gateway) -> None:
    request = b"POST /mint HTTP/1.0\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}"
    received = await raw_exchange(gateway.settings.gateway_port, request)
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.split(b" ", 2)[1] == b"201"
    assert b"transfer-encoding" not in head
    assert json.loads(body)["status"] == "FULFILLED"


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "PURGE"])
async def test_any_other_method_that_http_knows_is_404(services: Services, gateway: Gateway, method: str) -> None:
    request = f"{method} /mint HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode()
    received = await raw_exchange(gateway.settings.gateway_port, request, ends=True)
    assert received.startswith(b"HTTP/1.1 404 ")
    assert received.partition(b"\r\n\r\n")[2].startswith(b'{"error":"NOT_FOUND"')
    assert services.calls == []


async def test_doubled_slashes_are_one(services: Services, gateway: Gateway) -> None:
    request = b"POST //mint HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}"
    assert (await raw_exchange(gateway.settings.gateway_port, request)).startswith(b"HTTP/1.1 201 ")


@pytest.mark.parametrize(
    "headers",
    [
        {"x-y-bin": "!!!"},
        {"grpc-timeout": "1n"},
        {"grpc-timeout": "nonsense"},
        {"grpc-encoding": "gzip"},
        {"grpc-status": "13"},
        {"te": "chunked"},
        {"x-envoy-upstream-rq-timeout-ms": "1"},
        {"x-envoy-max-retries": "100"},
        {"x-http-method-override": "DELETE"},
        {"x-y": b"\xff\xe9"},
        {"expect": "100-continue"},
        {"accept-encoding": "gzip"},
        {"accept": "text/html"},
        {"range": "bytes=0-1"},
        *({name: "x"} for name in ("a|b", "!", "#a", "a~", "`", "'", "a$b", "%", "&", "*", "+", "^")),
    ],
    ids=str,
)
async def test_headers_cannot_steer_the_inside(
    services: Services, json_api: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    answer = await json_api.post("/mint", json={}, headers=headers)
    assert answer.status_code == 201
    metadata = services.calls[-1].metadata
    assert 0 < services.calls[-1].remaining_s <= 1.5
    assert not [name for name in metadata if name.startswith("grpc-") and name != "grpc-accept-encoding"]


async def test_the_original_path_cannot_be_forged(services: Services, json_api: httpx.AsyncClient) -> None:
    await json_api.post("/mint", json={}, headers={"x-envoy-original-path": "/issue-pass"})
    assert services.calls[-1].metadata["x-envoy-original-path"] == "/mint"


async def test_unlisted_query_parameters_are_removed(services: Services, json_api: httpx.AsyncClient) -> None:
    answer = await json_api.post("/mint?receipt_data=secret&user_id=x", json={"user_id": "u"})
    assert answer.status_code == 201
    call = services.calls[-1]
    assert (call.request.receipt_data, call.request.user_id) == ("", "u")
    assert call.metadata["x-envoy-original-path"] == "/mint"


async def test_listed_query_parameters_are_bound(services: Services, json_api: httpx.AsyncClient) -> None:
    query = "page_token=a%2Bb%3D&evil=1&page_size=7&&=&membership_id=other&page_sizes=3"
    answer = await json_api.get(f"/memberships/mine/encounters?{query}")
    assert answer.status_code == 200
    request = services.calls[-1].request
    assert (request.membership_id, request.page_token, request.page_size) == ("mine", "a+b=", 7)


BODIES = {
    "other fields": b'{"membership_id":"other","page_token":"stolen"}',
    "no JSON": b"x",
    "long": b" " * 20_000,
}


@pytest.mark.parametrize("query", ["", "?page_size=7", "?evil=1"])
@pytest.mark.parametrize("name", BODIES)
async def test_the_body_of_a_get_changes_nothing(
    services: Services, json_api: httpx.AsyncClient, name: str, query: str
) -> None:
    for content in (BODIES[name], _chunks(BODIES[name])):
        answer = await json_api.request("GET", f"/memberships/mine/encounters{query}", content=content)
        assert answer.status_code == 200
        request = services.calls[-1].request
        assert (request.membership_id, request.page_token) == ("mine", "")
        assert request.page_size == (7 if "page_size" in query else 0)


async def test_the_body_of_a_get_without_query_parameters_is_removed_too(
    services: Services, json_api: httpx.AsyncClient
) -> None:
    for query in ("", "?evil=1"):
        answer = await json_api.request("GET", f"/drops/genesis/2025{query}", content=b'{"tier":"gold","year":"2026"}')
        assert answer.status_code == 200
        request = services.calls[-1].request
        assert (request.tier, request.year) == ("genesis", "2025")


async def _chunks(body: bytes) -> AsyncIterator[bytes]:
    """Sent without a content-length."""
    for start in range(0, len(body), 1_000):
        yield body[start : start + 1_000]


@pytest.mark.parametrize(
    ("fields", "status"),
    [({"membership_id": "other"}, 422), ({"membership_id": "mine"}, 202), ({"membershipId": "other"}, 202)],
)
async def test_a_body_cannot_override_the_path(
    services: Services, json_api: httpx.AsyncClient, fields: dict[str, str], status: int
) -> None:
    answer = await json_api.post("/memberships/mine/email", json={"user_id": "ada", "email": "a@example.org", **fields})
    if status == 422:
        assert_error(answer, 422, "INVALID_REQUEST")
        assert not services.calls
    else:
        assert answer.status_code == status
        assert services.calls[-1].request.membership_id == "mine"


async def test_a_query_parameter_of_the_wrong_type_is_422(services: Services, json_api: httpx.AsyncClient) -> None:
    assert_error(await json_api.get("/memberships/mine/encounters?page_size=many"), 422, "INVALID_REQUEST")


async def test_native_grpc_is_refused_at_the_json_door(services: Services, json_api: httpx.AsyncClient) -> None:
    for path in ("/mint", "/vyris.mint.v1.MintService/Mint", "/grpc.health.v1.Health/Check"):
        for kind in ("application/grpc", "application/grpc+proto"):
            answer = await json_api.post(path, content=b"\0\0\0\0\0", headers={"content-type": kind})
            assert answer.headers["grpc-status"] == "12"
            assert "{" not in answer.headers["grpc-message"]
    assert services.calls == []
