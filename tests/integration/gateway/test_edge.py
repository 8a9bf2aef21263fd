"""The gateway as an edge proxy: its admin interface, its logs, its limits, and how it stops."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2

from gateway.clusters import HEALTH_REQUESTS_LIMIT
from gateway.settings import GatewaySettings
from tests.integration.gateway.contract import assert_error
from tests.integration.gateway.peers import (
    Gateway,
    Services,
    aborting,
    make_settings,
    raising,
    running_gateway,
    sleeping,
)
from vyris.errors import Retryable, SoldOut
from vyris.mint.v1 import mint_pb2, mint_pb2_grpc


def _lines_of(gateway: Gateway, request_id: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in gateway.access_log.read_text().splitlines()]
    return [line for line in lines if line.get("request_id") == request_id]


async def _log_lines(gateway: Gateway, request_id: str) -> list[dict[str, Any]]:
    for _ in range(40):
        found = _lines_of(gateway, request_id)
        if found:
            return found
        await asyncio.sleep(0.1)
    raise AssertionError("no line in the access log")


async def test_the_access_log_has_one_json_line_without_query_or_secrets(
    services: Services, gateway: Gateway, json_api: httpx.AsyncClient
) -> None:
    headers = {"x-request-id": "log-1", "authorization": "ApplePass topsecret", "dpop": "topsecret"}
    path = "/memberships/mine/encounters?page_token=topsecret&evil=topsecret"
    await json_api.get(path, headers=headers)
    (line,) = await _log_lines(gateway, "log-1")
    assert "topsecret" not in json.dumps(line)
    wanted = {"method": "GET", "status": 200, "service": "encounter"}
    assert wanted.items() <= line.items()
    assert line["route"] == "GET /memberships/{membership_id}/encounters"
    assert {"time", "duration_ms", "flags", "details", "caller", "protocol"} <= line.keys()


async def test_the_access_log_names_the_error(
    services: Services, gateway: Gateway, json_api: httpx.AsyncClient
) -> None:
    services.on("Mint", raising(SoldOut()))
    await json_api.post("/mint", json={}, headers={"x-request-id": "log-2"})
    (line,) = await _log_lines(gateway, "log-2")
    assert (line["error"], line["status"]) == ("SOLD_OUT", 410)


async def test_a_log_of_errors_has_failures_and_no_refusals(services: Services, tmp_path: Path) -> None:
    settings = make_settings(tmp_path, services, gateway_access_log="errors")
    async with running_gateway(tmp_path, settings) as gateway, httpx.AsyncClient(base_url=gateway.url) as client:
        await client.get("/drops/genesis/2025", headers={"x-request-id": "success"})
        services.on("Mint", raising(SoldOut()))
        await client.post("/mint", json={}, headers={"x-request-id": "refusal"})
        services.on("Mint", raising(Retryable("later", http_status=500)))
        await client.post("/mint", json={}, headers={"x-request-id": "failure"})
        (line,) = await _log_lines(gateway, "failure")
        assert line["status"] == 500
        # Lines are written in their order.
        assert not [line for name in ("success", "refusal") for line in _lines_of(gateway, name)]


async def test_the_statistics_listener_shows_prometheus_and_nothing_else(gateway: Gateway) -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{gateway.settings.gateway_metrics_port}") as client:
        answer = await client.get("/metrics")
        assert answer.status_code == 200
        assert "envoy_http_downstream_rq_total" in answer.text
        assert 'envoy_cluster_name="mint"' in answer.text
        for method, path in [
            ("GET", "/"),
            ("GET", "/stats"),
            ("GET", "/config_dump"),
            ("POST", "/quitquitquit"),
            ("POST", "/metrics"),
            ("GET", "/metrics/../config_dump"),
            ("GET", "/metrics/%2e%2e/config_dump"),
        ]:
            assert (await client.request(method, path)).status_code == 404


def test_the_admin_interface_listens_on_loopback_alone(gateway: Gateway) -> None:
    configuration = json.loads((gateway.folder / "envoy.json").read_text())
    assert configuration["admin"]["address"]["socket_address"]["address"] == "127.0.0.1"


@pytest.mark.parametrize("status", ["UNAVAILABLE", "INTERNAL", "NOT_FOUND", "UNIMPLEMENTED", "DEADLINE_EXCEEDED"])
async def test_health_that_fails_is_unhealthy(services: Services, json_api: httpx.AsyncClient, status: str) -> None:
    services.on("GetHealth", aborting(grpc.StatusCode[status]))
    answer = await json_api.get("/health")
    assert (answer.status_code, answer.json()) == (503, {"status": "unhealthy"})
    assert answer.headers["content-type"] == "application/json"


async def test_health_beyond_its_own_limit_is_unhealthy_too(services: Services, json_api: httpx.AsyncClient) -> None:
    services.on("GetHealth", sleeping(1.5))
    answers = await asyncio.gather(*(json_api.get("/health") for _ in range(HEALTH_REQUESTS_LIMIT + 20)))
    assert {(answer.status_code, answer.text) for answer in answers} == {(503, '{"status":"unhealthy"}')}
    assert min(answer.elapsed for answer in answers).total_seconds() < 1.2


async def test_health_that_hangs_is_unhealthy_after_two_seconds(
    services: Services, json_api: httpx.AsyncClient
) -> None:
    services.on("GetHealth", sleeping(20))
    started = asyncio.get_running_loop().time()
    answer = await json_api.get("/health?x=y")
    assert (answer.status_code, answer.json()) == (503, {"status": "unhealthy"})
    assert asyncio.get_running_loop().time() - started < 3


async def test_without_mint_health_is_unhealthy(services: Services, tmp_path: Path) -> None:
    settings = make_settings(tmp_path, services)
    async with running_gateway(tmp_path, settings) as gateway, httpx.AsyncClient(base_url=gateway.url) as client:
        assert (await client.get("/health")).json() == {"status": "ok"}
    dead = make_settings(tmp_path, services, mint_address="127.0.0.1:1")
    async with (
        running_gateway(tmp_path, dead, wait_for=("wallet",)) as gateway,
        httpx.AsyncClient(base_url=gateway.url) as client,
    ):
        answer = await client.get("/health")
        assert (answer.status_code, answer.json()) == (503, {"status": "unhealthy"})
        assert_error(await client.post("/health"), 404, "NOT_FOUND")
        assert_error(await client.post("/mint", json={}), 503, "RETRYABLE", retryable=True)


async def test_with_no_replica_ready_the_service_itself_says_what_is_wrong(
    services: Services, gateway: Gateway, json_api: httpx.AsyncClient
) -> None:
    name = "vyris.reforge.v1.ReforgeService"
    await services.health["reforge"].set(name, health_pb2.HealthCheckResponse.NOT_SERVING)
    try:
        async with httpx.AsyncClient(base_url=gateway.admin) as admin:
            for _ in range(100):
                if "cluster.reforge.membership_healthy: 0" in (await admin.get("/stats?filter=reforge.member")).text:
                    break
                await asyncio.sleep(0.1)
            else:
                raise AssertionError("the gateway did not see it")
        assert (await json_api.post("/devices/reforge/init", json={})).status_code == 202
    finally:
        await services.health["reforge"].set(name, health_pb2.HealthCheckResponse.SERVING)


async def test_replicas_are_found_by_name_and_by_list(services: Services, tmp_path: Path) -> None:
    ports = services.ports
    two = f"127.0.0.1:{ports['wallet']},127.0.0.1:1"
    settings = make_settings(tmp_path, services, mint_address=f"localhost:{ports['mint']}", wallet_address=two)
    async with running_gateway(tmp_path, settings) as gateway, httpx.AsyncClient(base_url=gateway.url) as client:
        assert (await client.post("/mint", json={})).status_code == 201
        # One of two replicas is down: no caller notices.
        statuses = [(await client.post("/issue-pass", json={})).status_code for _ in range(20)]
        assert statuses == [200] * 20


async def test_callers_are_limited_by_address(services: Services, tmp_path: Path) -> None:
    settings = make_settings(tmp_path, services, gateway_rate_limit_rps=1, gateway_rate_limit_burst=5)
    async with running_gateway(tmp_path, settings) as gateway, httpx.AsyncClient(base_url=gateway.url) as client:
        answers = [await client.post("/mint", json={}) for _ in range(12)]
        assert [answer.status_code for answer in answers[:5]] == [201] * 5
        assert_error(answers[-1], 429, "RATE_LIMITED", retryable=True)
        assert answers[-1].headers["retry-after"] == "1"
        assert (await client.get("/health")).status_code == 200
        async with grpc.aio.insecure_channel(gateway.grpc_target) as channel:
            stub = mint_pb2_grpc.MintServiceStub(channel)
            codes = set()
            for _ in range(12):
                try:
                    await stub.Mint(mint_pb2.MintRequest())
                except grpc.aio.AioRpcError as failure:
                    codes.add((failure.code(), failure.details()))
            assert codes == {(grpc.StatusCode.RESOURCE_EXHAUSTED, "Too many requests")}
        await asyncio.sleep(1.2)
        assert (await client.post("/mint", json={})).status_code == 201


async def test_another_address_has_a_limit_of_its_own(services: Services, tmp_path: Path) -> None:
    settings = make_settings(
        tmp_path, services, gateway_rate_limit_rps=1, gateway_rate_limit_burst=2, gateway_trusted_hops=1
    )
    async with running_gateway(tmp_path, settings) as gateway, httpx.AsyncClient(base_url=gateway.url) as client:

        async def statuses(address: str) -> list[int]:
            headers = {"x-forwarded-for": address}
            return [(await client.post("/mint", json={}, headers=headers)).status_code for _ in range(4)]

        assert await statuses("203.0.113.1") == [201, 201, 429, 429]
        assert await statuses("203.0.113.2") == [201, 201, 429, 429]
        # A caller with one IPv6 address has its /64.
        assert await statuses("2001:db8::1") == [201, 201, 429, 429]
        assert (await statuses("2001:db8::2"))[0] == 429


async def test_static_pages_are_served_with_strict_headers(services: Services, tmp_path: Path) -> None:
    page = "<!doctype html>" + "x" * 200_000
    (tmp_path / "docs.html").write_text(page)
    entry = {"file": "docs.html", "content_type": "text/html; charset=utf-8"}
    pages = [{"path": "/docs", **entry}, {"path": "/drops/{tier}/{year}/live", **entry}]
    (tmp_path / "pages.json").write_text(json.dumps({"pages": pages}))
    settings = make_settings(tmp_path, services, gateway_static_dir=tmp_path)
    async with running_gateway(tmp_path, settings) as gateway, httpx.AsyncClient(base_url=gateway.url) as client:
        for path in ("/docs", "/docs?x=y", "/drops/genesis/2025/live"):
            answer = await client.get(path)
            assert (answer.status_code, answer.text) == (200, page)
            assert answer.headers["content-type"] == "text/html; charset=utf-8"
            assert answer.headers["content-security-policy"].startswith("default-src 'none'")
            assert answer.headers["x-frame-options"] == "DENY"
        assert (await client.get("/drops/genesis/2025")).json()["capacity"] == 999
        assert_error(await client.post("/docs"), 404, "NOT_FOUND")


async def test_a_page_at_the_path_of_an_rpc_goes_to_those_alone_who_accept_its_type(
    services: Services, tmp_path: Path
) -> None:
    (tmp_path / "drop.html").write_text("<!doctype html>")
    page = {"file": "drop.html", "content_type": "text/html; charset=utf-8", "accept": "text/html"}
    page |= {"path": "/drops/{tier}/{year}", "cache_control": "no-store"}
    (tmp_path / "pages.json").write_text(json.dumps({"pages": [page]}))
    settings = make_settings(
        tmp_path, services, gateway_static_dir=tmp_path, gateway_cors_origins=("https://shop.example",)
    )
    async with running_gateway(tmp_path, settings) as gateway, httpx.AsyncClient(base_url=gateway.url) as client:
        browsers = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
        shown = await client.get("/drops/genesis/2025", headers=browsers)
        assert (shown.status_code, shown.text) == (200, "<!doctype html>")
        assert shown.headers["cache-control"] == "no-store"
        assert {"accept", "origin"} <= {word.strip() for word in shown.headers["vary"].split(",")}
        for accept in ("application/json", "*/*"):
            answer = await client.get("/drops/genesis/2025", headers={"accept": accept})
            assert answer.json()["capacity"] == 999


async def test_too_many_requests_at_once_are_shed(services: Services, tmp_path: Path) -> None:
    settings = make_settings(tmp_path, services, gateway_max_requests=2)
    services.on("Mint", sleeping(0.5))
    async with running_gateway(tmp_path, settings) as gateway, httpx.AsyncClient(base_url=gateway.url) as client:
        answers = await asyncio.gather(*(client.post("/mint", json={}) for _ in range(10)))
        shed = [answer for answer in answers if answer.status_code == 503]
        assert len(shed) >= 6
        for answer in shed:
            assert_error(answer, 503, "RETRYABLE", retryable=True)
            assert answer.json()["message"] == "The service is busy; send the same request again"
            assert answer.headers["retry-after"] == "1"
        await asyncio.sleep(1.2)  # the log's lines are written within a second
        statuses = [json.loads(line)["status"] for line in (tmp_path / "access.log").read_text().splitlines()]
        assert len(statuses) - statuses.count(503) == len(answers) - len(shed)
        assert statuses.count(503) < len(shed)


def _environment(settings: GatewaySettings) -> dict[str, str]:
    names = ["gateway_port", "gateway_grpc_port", "gateway_metrics_port", "envoy_admin_port", "mint_address"]
    names += ["encounter_address", "wallet_address", "reforge_address", "gateway_access_log_path"]
    return os.environ | {name.upper(): str(getattr(settings, name)) for name in names}


async def test_a_stopping_gateway_answers_open_requests_first(services: Services, tmp_path: Path) -> None:
    settings = make_settings(tmp_path, services)
    command = [sys.executable, "-m", "gateway", "run", "--output", str(tmp_path / "envoy.json")]
    process = await asyncio.create_subprocess_exec(*command, env=_environment(settings))
    begun = asyncio.Event()

    async def slow(request: object, context: object) -> object:
        begun.set()
        await asyncio.sleep(1)
        return mint_pb2.MintResponse(status="FULFILLED")

    services.on("Mint", slow)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{settings.gateway_port}") as client:
        for _ in range(100):
            try:
                if (await client.get("/health")).status_code == 200:
                    break
            except httpx.HTTPError:
                await asyncio.sleep(0.1)
        open_request = asyncio.create_task(client.post("/mint", json={}))
        await asyncio.wait_for(begun.wait(), 5)
        process.send_signal(signal.SIGTERM)
        answer = await open_request
    assert answer.status_code == 201
    assert await asyncio.wait_for(process.wait(), 15) == 0
