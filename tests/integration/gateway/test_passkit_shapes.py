"""The gateway carries each HTTP shape that a proto may ask for: Apple's web service, forms, pages.

A proto of the test has all of them; the generator is the same.
"""

from __future__ import annotations

import importlib.resources
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from google.api.httpbody_pb2 import HttpBody
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_tools import protoc

from gateway.routes import load_descriptors
from suite import PROCESS_OF_PACKAGE
from tests.integration.gateway.contract import assert_error, assert_nothing_private
from tests.integration.gateway.peers import (
    RPCS,
    Services,
    answering,
    make_settings,
    raising,
    running_gateway,
    running_services,
)
from vyris.errors import Unauthorized

PROTO = """
syntax = "proto3";
package vyris.wallet.scratch;
import "google/api/annotations.proto";
import "google/api/httpbody.proto";
import "vyris/gateway/v1/http_policy.proto";

service PassKitService {
  rpc Register(RegisterRequest) returns (google.api.HttpBody) {
    option (google.api.http) = {post: "/scratch/v1/devices/{device}/registrations/{type}/{serial}" body: "*"};
    option (vyris.gateway.v1.http_policy) = {status_from_service: true};
  }
  rpc Unregister(UnregisterRequest) returns (google.api.HttpBody) {
    option (google.api.http) = {delete: "/scratch/v1/devices/{device}/registrations/{type}/{serial}"};
    option (vyris.gateway.v1.http_policy) = {status_from_service: true};
  }
  rpc ListSerials(ListRequest) returns (google.api.HttpBody) {
    option (google.api.http) = {get: "/scratch/v1/devices/{device}/registrations/{type}"};
    option (vyris.gateway.v1.http_policy) = {status_from_service: true query_parameters: ["passesUpdatedSince"]};
  }
  rpc Page(PageRequest) returns (google.api.HttpBody) {
    option (google.api.http) = {get: "/scratch/reforge/confirm"};
    option (vyris.gateway.v1.http_policy) = {html: true query_parameters: ["token"] media_type: "text/html"};
  }
  rpc Submit(google.api.HttpBody) returns (google.api.HttpBody) {
    option (google.api.http) = {post: "/scratch/reforge/confirm" body: "*"};
    option (vyris.gateway.v1.http_policy) = {html: true media_type: "text/html"};
  }
  rpc Notify(NotifyRequest) returns (google.api.HttpBody) {
    option (google.api.http) = {post: "/scratch/notifications/{kind}" body: "content"};
  }
}
message RegisterRequest {
  string device = 1;
  string type = 2;
  string serial = 3;
  string push_token = 4 [json_name = "pushToken"];
}
message UnregisterRequest { string device = 1; string type = 2; string serial = 3; }
message ListRequest { string device = 1; string type = 2; string passes_updated_since = 3; }
message PageRequest { string token = 1; }
message NotifyRequest { string kind = 1; google.api.HttpBody content = 2; }
"""
PROTOS = Path(__file__).parents[3] / "protos"
PAGE = HttpBody(content_type="text/html; charset=utf-8", data=b"<h1>ok</h1>")


def _compile(folder: Path) -> FileDescriptorSet:
    (folder / "scratch.proto").write_text(PROTO)
    bundled = importlib.resources.files("grpc_tools") / "_proto"
    google_apis = Path(str(importlib.resources.files("google.api"))).parents[1]
    out = folder / "scratch.binpb"
    includes = [f"-I{path}" for path in (folder, PROTOS, bundled, google_apis)]
    arguments = ["protoc", *includes, "--include_imports", f"--descriptor_set_out={out}", "scratch.proto"]
    assert protoc.main(arguments) == 0
    return load_descriptors(out)


@pytest.fixture(scope="module")
async def _world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Services, str]]:
    folder = tmp_path_factory.mktemp("scratch")
    descriptors = load_descriptors()
    known = {file.name for file in descriptors.file}
    scratch = _compile(folder)
    descriptors.file.extend(file for file in scratch.file if file.name not in known)
    pool = descriptor_pool.DescriptorPool()
    for file in scratch.file:
        pool.Add(file)
    service = pool.FindServiceByName("vyris.wallet.scratch.PassKitService")
    rpcs: dict[str, tuple[str, type, Any]] = {
        f"/{service.full_name}/{method.name}": ("wallet", message_factory.GetMessageClass(method.input_type), PAGE)
        for method in service.methods
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PROCESS_OF_PACKAGE, "vyris.wallet.scratch", "wallet")
        async with (
            running_services(RPCS | rpcs) as services,
            running_gateway(folder, make_settings(folder, services), descriptors) as gateway,
        ):
            yield services, gateway.url


@pytest.fixture
def services(_world: tuple[Services, str]) -> Services:
    _world[0].reset()
    return _world[0]


@pytest.fixture
async def json_api(_world: tuple[Services, str]) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=_world[1], timeout=10) as client:
        yield client


REGISTRATION = "/scratch/v1/devices/d%20e%3Fv/registrations/pass.com.vyris/s-1"


@pytest.mark.parametrize("status", [200, 201, 401])
async def test_register(services: Services, json_api: httpx.AsyncClient, status: int) -> None:
    services.on("Register", answering(HttpBody(), ("x-http-status", str(status))))
    headers = {"authorization": "ApplePass token"}
    answer = await json_api.post(REGISTRATION, json={"pushToken": "p"}, headers=headers)
    assert answer.status_code == status
    assert answer.content == b""
    call = services.calls[-1]
    request = call.request
    assert (request.device, request.type, request.serial, request.push_token) == ("d e?v", "pass.com.vyris", "s-1", "p")
    assert call.metadata["authorization"] == "ApplePass token"


async def test_unregister_needs_no_body(services: Services, json_api: httpx.AsyncClient) -> None:
    answer = await json_api.delete(REGISTRATION)
    assert answer.status_code == 200
    assert services.calls[-1].request.serial == "s-1"


@pytest.mark.parametrize("path", [REGISTRATION.rpartition("/")[0]])
async def test_a_camel_case_query_parameter_is_bound(
    services: Services, json_api: httpx.AsyncClient, path: str
) -> None:
    body = HttpBody(content_type="application/json", data=b'{"serialNumbers":["s"],"lastUpdated":"7"}')
    services.on("ListSerials", answering(body, ("x-http-status", "200")))
    answer = await json_api.get(f"{path}?passesUpdatedSince=41%2B1&evil=x")
    assert answer.json() == {"serialNumbers": ["s"], "lastUpdated": "7"}
    assert services.calls[-1].request.passes_updated_since == "41+1"
    services.on("ListSerials", answering(HttpBody(), ("x-http-status", "204")))
    assert (await json_api.get(path)).status_code == 204
    assert services.calls[-1].request.passes_updated_since == ""


async def test_not_modified_has_headers_and_no_body(services: Services, json_api: httpx.AsyncClient) -> None:
    date = "Mon, 23 Nov 2026 06:00:00 GMT"
    services.on("Unregister", answering(HttpBody(), ("x-http-status", "304"), ("last-modified", date)))
    answer = await json_api.delete(REGISTRATION, headers={"if-modified-since": date})
    assert (answer.status_code, answer.content, answer.headers["last-modified"]) == (304, b"", date)
    assert services.calls[-1].metadata["if-modified-since"] == date


async def test_an_error_still_has_three_keys(services: Services, json_api: httpx.AsyncClient) -> None:
    services.on("Register", raising(Unauthorized()))
    assert_error(await json_api.post(REGISTRATION, json={}), 401, "UNAUTHORIZED")


async def test_a_page_gets_its_token_and_keeps_its_headers(services: Services, json_api: httpx.AsyncClient) -> None:
    policy = ("content-security-policy", "default-src 'none'")
    services.on("Page", answering(PAGE, ("referrer-policy", "no-referrer"), policy))
    answer = await json_api.get("/scratch/reforge/confirm?token=a-b_c&utm=x")
    assert services.calls[-1].request.token == "a-b_c"
    assert (answer.status_code, answer.content) == (200, PAGE.data)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["content-security-policy"] == "default-src 'none'"


@pytest.mark.parametrize("status", [404, 410, 503])
async def test_a_page_may_say_what_is_wrong(services: Services, json_api: httpx.AsyncClient, status: int) -> None:
    services.on("Page", answering(PAGE, ("x-http-status", str(status))))
    answer = await json_api.get("/scratch/reforge/confirm?token=x")
    assert (answer.status_code, answer.content) == (status, PAGE.data)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert_nothing_private(answer)


async def test_a_form_arrives_as_it_was_sent(services: Services, json_api: httpx.AsyncClient) -> None:
    form = {"token": "a-b_c+/= ü", "code": "12"}
    answer = await json_api.post("/scratch/reforge/confirm", data=form)
    assert answer.content == PAGE.data
    request = services.calls[-1].request
    assert request.content_type == "application/x-www-form-urlencoded"
    assert httpx.QueryParams(request.data.decode()) == httpx.QueryParams(form)


async def test_an_empty_form_arrives(services: Services, json_api: httpx.AsyncClient) -> None:
    kind = {"content-type": "application/x-www-form-urlencoded"}
    assert (await json_api.post("/scratch/reforge/confirm", content=b"", headers=kind)).status_code == 200
    assert services.calls[-1].request.data == b""


async def test_a_raw_body_is_bound_beside_a_path_variable(services: Services, json_api: httpx.AsyncClient) -> None:
    data = b'{"signedPayload":"x", "n": 9007199254740993}'
    answer = await json_api.post(
        "/scratch/notifications/app-store", content=data, headers={"content-type": "application/json"}
    )
    assert answer.status_code == 200
    request = services.calls[-1].request
    assert (request.kind, request.content.data, request.content.content_type) == ("app-store", data, "application/json")


async def test_a_raw_body_has_the_same_limit(services: Services, json_api: httpx.AsyncClient) -> None:
    assert (await json_api.post("/scratch/reforge/confirm", content=b"a" * 65536)).status_code == 200
    assert services.calls[-1].request.data == b"a" * 65536
    assert_error(await json_api.post("/scratch/reforge/confirm", content=b"a" * 65537), 413, "INVALID_REQUEST")
