"""A page of a listed origin can read every answer of the JSON door; a page of another can read none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from gateway.bootstrap import bootstrap
from gateway.routes import http_routes, load_descriptors
from tests.integration.gateway import peers
from tests.integration.gateway.contract import assert_error
from tests.integration.gateway.peers import (
    Services,
    aborting,
    answering,
    make_settings,
    raising,
    running_gateway,
    running_services,
    sleeping,
)
from tests.ports import free_port
from vyris.errors import RateLimited, SoldOut, Unauthorized

LISTED = "https://drop.example"
OTHERS = ("https://evil.example", "https://drop.example.evil.example", "http://drop.example", "null", None)
ASKED = {"access-control-request-method": "POST", "access-control-request-headers": "content-type, dpop"}
PATHS = sorted({(route.http_method, route.template) for route in http_routes(load_descriptors())})


@pytest.fixture(scope="module")
async def pages(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Services, httpx.AsyncClient]]:
    """A gateway that two origins may call, with mint alone behind it."""
    folder = tmp_path_factory.mktemp("pages")
    async with running_services() as services:
        settings = make_settings(
            folder,
            services,
            gateway_cors_origins=(LISTED, "https://shop.example:8443"),
            wallet_address=f"127.0.0.1:{free_port()}",
        )
        async with (
            running_gateway(folder, settings, wait_for=("mint",)) as gateway,
            httpx.AsyncClient(base_url=gateway.url) as client,
        ):
            yield services, client


def _assert_readable(answer: httpx.Response, origin: str = LISTED) -> None:
    assert answer.headers.get_list("access-control-allow-origin") == [origin]
    assert answer.headers["vary"] == "accept, origin"
    exposed = answer.headers["access-control-expose-headers"].split(", ")
    assert {"retry-after", "etag", "last-modified", "x-request-id", "content-disposition"} <= set(exposed)


def _assert_unreadable(answer: httpx.Response) -> None:
    assert not [name for name in answer.headers if name.startswith("access-control-")]
    # Otherwise a cache would give this answer to a page that may read it.
    assert answer.headers["vary"] == "accept, origin"


def _origin(origin: str | None) -> dict[str, str]:
    return {} if origin is None else {"origin": origin}


ANSWERS: dict[str, tuple[int, str, str, dict[str, Any], Any]] = {
    "success": (201, "POST", "/mint", {"json": {}}, None),
    "success with a query": (201, "POST", "/mint?utm_source=x", {"json": {}}, None),
    "read with its parameter": (200, "GET", "/memberships/m/encounters?page_token=x", {}, None),
    "page": (200, "GET", "/docs", {}, None),
    "page with a query": (200, "GET", "/openapi.json?x=y", {}, None),
    "health": (200, "GET", "/health", {}, None),
    "service's refusal": (410, "POST", "/mint", {"json": {}}, raising(SoldOut())),
    "service's 401": (401, "POST", "/mint?x=y", {"json": {}}, raising(Unauthorized())),
    "service's 429": (429, "POST", "/mint", {"json": {}}, raising(RateLimited())),
    "bare status": (500, "POST", "/mint", {"json": {}}, aborting(grpc.StatusCode.INTERNAL)),
    "service that breaks": (500, "POST", "/mint", {"json": {}}, answering(None)),
    "too slow": (504, "POST", "/mint", {"json": {}}, sleeping(3)),
    "unreachable": (503, "POST", "/issue-pass", {"json": {}}, None),
    "no such path": (404, "GET", "/nope", {}, None),
    "no such path with a query": (404, "GET", "/nope?x=y", {}, None),
    "wrong method": (404, "PUT", "/mint", {"json": {}}, None),
    "path with an encoded slash": (404, "GET", "/drops/a%2fb/2025", {}, None),
    "no JSON": (422, "POST", "/mint", {"content": b"{nope"}, None),
    "too large": (413, "POST", "/mint", {"content": b" " * 70_000}, None),
}


@pytest.mark.parametrize("name", ANSWERS)
async def test_every_answer_can_be_read_by_listed_pages_alone(
    pages: tuple[Services, httpx.AsyncClient], name: str
) -> None:
    services, client = pages
    status, method, path, how, behaviour = ANSWERS[name]
    services.reset()
    if behaviour is not None:
        services.on("Mint", behaviour)
    sent = how.get("headers", {})
    answer = await client.request(method, path, **{**how, "headers": {**sent, **_origin(LISTED)}})
    assert answer.status_code == status
    _assert_readable(answer)
    for origin in OTHERS[:1] if status == 504 else OTHERS:
        answer = await client.request(method, path, **{**how, "headers": {**sent, **_origin(origin)}})
        assert answer.status_code == status
        _assert_unreadable(answer)


async def test_a_page_can_read_that_its_caller_is_over_the_limit(services: Services, tmp_path: Path) -> None:
    settings = make_settings(tmp_path, services, gateway_cors_origins=(LISTED,), gateway_rate_limit_rps=1)
    async with running_gateway(tmp_path, settings) as gateway, httpx.AsyncClient(base_url=gateway.url) as client:
        answers = [await client.post("/mint?x=y", json={}, headers=_origin(LISTED)) for _ in range(4)]
        assert_error(answers[-1], 429, "RATE_LIMITED", retryable=True)
        for answer in answers:
            _assert_readable(answer)


async def test_a_page_can_read_the_refusal_of_a_gateway_without_memory(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Envoy then answers before any filter."""

    def always_overloaded(*args: Any) -> Any:
        configuration = bootstrap(*args)
        manager = configuration.overload_manager
        stop = next(action for action in manager.actions if action.name.endswith("stop_accepting_requests"))
        del manager.actions[:]
        manager.actions.append(stop)
        return configuration

    monkeypatch.setattr(peers, "bootstrap", always_overloaded)
    settings = make_settings(tmp_path, services, gateway_cors_origins=(LISTED,))
    settings = settings.model_copy(update={"gateway_max_heap_bytes": 1})
    async with running_gateway(tmp_path, settings) as gateway, httpx.AsyncClient(base_url=gateway.url) as client:
        async with asyncio.timeout(10):
            # It checks its memory every quarter of a second.
            while True:
                with suppress(httpx.ConnectError):
                    answer = await client.post("/mint", json={}, headers=_origin(LISTED))
                    if answer.status_code == 503:
                        break
                await asyncio.sleep(0.1)
        assert_error(answer, 503, "RETRYABLE", retryable=True)
        _assert_readable(answer)
        _assert_unreadable(await client.post("/mint", json={}, headers=_origin(OTHERS[0])))


@pytest.mark.parametrize("query", ["", "?x=y"])
@pytest.mark.parametrize(("method", "template"), PATHS)
async def test_a_listed_page_may_ask_first_everywhere(
    pages: tuple[Services, httpx.AsyncClient], method: str, template: str, query: str
) -> None:
    services, client = pages
    services.reset()
    asked = {**ASKED, "access-control-request-method": method}
    path = template.replace("{", "").replace("}", "") + query
    answer = await client.options(path, headers={**_origin("https://shop.example:8443"), **asked})
    assert answer.status_code == 200
    _assert_readable(answer, "https://shop.example:8443")
    assert method in answer.headers["access-control-allow-methods"].split(", ")
    allowed = set(answer.headers["access-control-allow-headers"].split(", "))
    assert {"authorization", "content-type", "dpop", "if-none-match", "traceparent", "x-request-id"} <= allowed
    assert services.calls == []


@pytest.mark.parametrize("origin", OTHERS)
@pytest.mark.parametrize("query", ["", "?x=y"])
async def test_another_page_gets_404_for_its_preflight(
    pages: tuple[Services, httpx.AsyncClient], origin: str | None, query: str
) -> None:
    answer = await pages[1].options(f"/mint{query}", headers={**_origin(origin), **ASKED})
    assert_error(answer, 404, "NOT_FOUND")
    _assert_unreadable(answer)


async def test_options_without_a_preflight_are_not_found(pages: tuple[Services, httpx.AsyncClient]) -> None:
    assert_error(await pages[1].options("/mint", headers=_origin(LISTED)), 404, "NOT_FOUND")


async def test_without_the_setting_no_page_may_call(services: Services, json_api: httpx.AsyncClient) -> None:
    for method, path in (("POST", "/mint"), ("GET", "/docs"), ("GET", "/nope"), ("OPTIONS", "/mint")):
        answer = await json_api.request(method, path, headers={**_origin(LISTED), **ASKED})
        assert not {"access-control-allow-origin", "vary"} & answer.headers.keys()
