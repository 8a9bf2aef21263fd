"""The answers to a JSON caller in case of success."""

from __future__ import annotations

import uuid

import httpx
import pytest
from google.api.httpbody_pb2 import HttpBody

from tests.integration.gateway.contract import assert_nothing_private
from tests.integration.gateway.peers import MINTED, Gateway, Services, answering, raw_exchange

SUCCESSES = [
    ("POST", "/mint", 201),
    ("POST", "/encounters/verify", 201),
    ("POST", "/issue-pass", 200),
    ("POST", "/devices/reforge/init", 202),
    ("POST", "/devices/reforge/confirm", 200),
    ("GET", "/drops/genesis/2025", 200),
    ("GET", "/memberships/0b0e/encounters", 200),
    ("GET", "/health", 200),
]


@pytest.mark.parametrize(("method", "path", "status"), SUCCESSES)
async def test_success_has_the_status_of_the_contract(
    services: Services, json_api: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    answer = await json_api.request(method, path, json={} if method == "POST" else None)
    assert answer.status_code == status
    assert_nothing_private(answer)
    assert answer.headers["server"] == "vyris"
    shared = path.startswith("/drops/")
    assert answer.headers["cache-control"] == ("public, max-age=1, stale-while-revalidate=5" if shared else "no-store")


async def test_json_is_snake_case_with_every_field_present(services: Services, json_api: httpx.AsyncClient) -> None:
    answer = await json_api.post("/mint", json={"receipt_data": "r", "user_id": "u"})
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {
        "status": "FULFILLED",
        "membership": {"id": "m", "tier": "genesis", "year": "2025", "sequence_num": 7, "pass_serial": "s"},
        "replayed": False,
    }


async def test_unknown_json_fields_are_ignored(services: Services, json_api: httpx.AsyncClient) -> None:
    answer = await json_api.post("/mint", json={"receipt_data": "r", "surprise": {"a": [1]}})
    assert answer.status_code == 201
    assert services.calls[-1].request.receipt_data == "r"


async def test_path_variables_are_percent_decoded(services: Services, json_api: httpx.AsyncClient) -> None:
    await json_api.get("/memberships/a%20b%3Fc/encounters")
    assert services.calls[-1].request.membership_id == "a b?c"


async def test_bytes_of_a_pass_arrive_unchanged(services: Services, json_api: httpx.AsyncClient) -> None:
    data = bytes(range(256)) * 1024
    services.on(
        "IssuePass",
        answering(
            HttpBody(content_type="application/vnd.apple.pkpass", data=data),
            ("content-disposition", 'attachment; filename="vyris-genesis-7.pkpass"'),
            ("last-modified", "Mon, 23 Nov 2026 06:00:00 GMT"),
        ),
    )
    answer = await json_api.post("/issue-pass", json={})
    assert answer.content == data
    assert answer.headers["content-type"] == "application/vnd.apple.pkpass"
    assert answer.headers["content-disposition"] == 'attachment; filename="vyris-genesis-7.pkpass"'
    assert answer.headers["last-modified"] == "Mon, 23 Nov 2026 06:00:00 GMT"


@pytest.mark.parametrize("status", [201, 204, 304, 401, 404, 410])
async def test_a_service_may_name_the_status(services: Services, json_api: httpx.AsyncClient, status: int) -> None:
    services.on("IssuePass", answering(HttpBody(content_type="text/html", data=b"<p>"), ("x-http-status", str(status))))
    answer = await json_api.post("/issue-pass", json={})
    assert answer.status_code == status
    assert_nothing_private(answer)
    bodiless = status in {204, 304}
    assert answer.content == (b"" if bodiless else b"<p>")
    assert ("content-type" in answer.headers) is not bodiless


async def test_204_leaves_the_connection_usable(services: Services, gateway: Gateway) -> None:
    services.on("IssuePass", answering(HttpBody(data=b"ignored"), ("x-http-status", "204")))
    request = b"POST /issue-pass HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}"
    last = request.replace(b"host: x", b"host: x\r\nconnection: close")
    received = await raw_exchange(gateway.settings.gateway_port, request + last)
    assert received.count(b"HTTP/1.1 204 No Content\r\n") == 2
    assert b"content-length" not in received


@pytest.mark.parametrize("status", ["99", "600", "abc", "2000", ""])
async def test_a_status_that_makes_no_sense_is_an_error(
    services: Services, json_api: httpx.AsyncClient, status: str
) -> None:
    services.on("IssuePass", answering(HttpBody(data=b"x"), ("x-http-status", status)))
    assert (await json_api.post("/issue-pass", json={})).status_code == 500


async def test_a_service_cannot_name_the_status_of_other_calls(services: Services, json_api: httpx.AsyncClient) -> None:
    services.on("Mint", answering(MINTED, ("x-http-status", "418")))
    answer = await json_api.post("/mint", json={})
    assert answer.status_code == 201
    assert_nothing_private(answer)


async def test_the_callers_request_id_goes_through_and_comes_back(
    services: Services, json_api: httpx.AsyncClient
) -> None:
    answer = await json_api.post("/mint", json={}, headers={"x-request-id": "order-17"})
    assert answer.headers["x-request-id"] == "order-17"
    assert services.calls[-1].metadata["x-request-id"] == "order-17"


async def test_without_one_a_request_id_is_made(services: Services, json_api: httpx.AsyncClient) -> None:
    answer = await json_api.post("/mint", json={})
    assert uuid.UUID(answer.headers["x-request-id"])
    assert services.calls[-1].metadata["x-request-id"] == answer.headers["x-request-id"]


async def test_services_receive_the_time_and_the_original_path(services: Services, json_api: httpx.AsyncClient) -> None:
    await json_api.post("/mint", json={}, headers={"dpop": "proof", "authorization": "ApplePass t"})
    metadata = services.calls[-1].metadata
    assert 0 < services.calls[-1].remaining_s <= 1.5
    assert metadata["x-envoy-original-path"] == "/mint"
    assert metadata["dpop"] == "proof"
    assert metadata["authorization"] == "ApplePass t"


async def test_http2_without_negotiation_is_understood(services: Services, gateway: Gateway) -> None:
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
    received = await raw_exchange(gateway.settings.gateway_port, preface, 0.5)
    assert received[3] == 4  # a SETTINGS frame in return
