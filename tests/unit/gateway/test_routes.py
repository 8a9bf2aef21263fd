"""The protos become routes, or a clear error."""

from __future__ import annotations

import re

import pytest
from google.api import annotations_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

from gateway.paths import path_regex
from gateway.routes import Unroutable, http_routes, load_descriptors, rpc_services
from vyris.gateway.v1 import http_policy_pb2


def _protos(*rules: dict[str, str], package: str = "vyris.mint.v1", streaming: bool = False) -> FileDescriptorSet:
    file = FileDescriptorProto(name="x.proto", package=package)
    service = file.service.add(name="XService")
    for number, rule in enumerate(rules):
        method = service.method.add(name=f"M{number}", server_streaming=streaming)
        for kind, path in rule.items():
            setattr(method.options.Extensions[annotations_pb2.http], kind, path)
    return FileDescriptorSet(file=[file])


def test_the_documented_endpoints_are_routes() -> None:
    found = {(route.http_method, route.template): route for route in http_routes(load_descriptors())}
    assert found["POST", "/mint"].success_status == 201
    assert found["POST", "/encounters/verify"].success_status == 201
    assert found["POST", "/devices/reforge/init"].success_status == 202
    assert found["POST", "/devices/reforge/confirm"].success_status == 200
    assert found["POST", "/issue-pass"].status_from_service
    assert found["GET", "/health"].cluster == "mint"
    assert found["GET", "/memberships/{membership_id}/encounters"].query_parameters == ("page_size", "page_token")


def test_every_service_has_a_process() -> None:
    clusters = {service.name: service.cluster for service in rpc_services(load_descriptors())}
    assert clusters["vyris.suite.v1.SuiteService"] == "mint"
    assert clusters["vyris.wallet.v1.WalletService"] == "wallet"


def test_exact_paths_come_before_templates_and_literal_ones_before_others() -> None:
    rules = [{"get": "/a/{x}/{y}"}, {"get": "/a/{x}/b"}, {"get": "/a/c/b"}]
    templates = [route.template for route in http_routes(_protos(*rules))]
    assert templates == ["/a/c/b", "/a/{x}/b", "/a/{x}/{y}"]


@pytest.mark.parametrize(
    ("path", "matches"),
    [
        ("/v1/passes/pass.com.x/s-1", True),
        ("/v1/passes/a%20b/%C3%A9", True),
        ("/v1/passes/a/b/", False),
        ("/v1/passes/a", False),
        ("/v1/passes//b", False),
        ("/v1/passes/a/b/c", False),
        ("/v1xpasses/a/b", False),
        ("x/v1/passes/a/b", False),
    ],
)
def test_a_variable_is_one_segment(path: str, matches: bool) -> None:
    (route,) = http_routes(_protos({"get": "/v1/passes/{type}/{serial}"}))
    regex = path_regex(route.template)
    assert regex is not None
    assert bool(re.fullmatch(regex, path)) is matches


@pytest.mark.parametrize("path", ["/a/{x=**}", "/a/*", "/a:verb", "a", "/", "/a?b", "/a//b", "/{x", "/a/{x=b/*}"])
def test_paths_that_cannot_be_carried_are_refused(path: str) -> None:
    with pytest.raises(Unroutable, match="segments"):
        http_routes(_protos({"get": path}))


def test_two_methods_cannot_claim_one_path() -> None:
    with pytest.raises(Unroutable, match="both claim"):
        http_routes(_protos({"get": "/a/{x}"}, {"get": "/a/{y}"}))
    assert len(http_routes(_protos({"get": "/a/{x}"}, {"post": "/a/{y}"}))) == 2


def test_streams_have_no_json_form() -> None:
    with pytest.raises(Unroutable, match="streams"):
        http_routes(_protos({"get": "/a"}, streaming=True))


def test_a_package_without_a_process_is_refused() -> None:
    with pytest.raises(Unroutable, match="no process"):
        http_routes(_protos({"get": "/a"}, package="vyris.nobody.v1"))


def test_additional_bindings_are_routes_of_their_own() -> None:
    protos = _protos({"get": "/a"})
    rule = protos.file[0].service[0].method[0].options.Extensions[annotations_pb2.http]
    rule.additional_bindings.add(post="/b", body="*")
    found = [(route.http_method, route.template) for route in http_routes(protos)]
    assert found == [("GET", "/a"), ("POST", "/b")]


def test_pages_name_their_status_themselves() -> None:
    protos = _protos({"get": "/page"})
    protos.file[0].service[0].method[0].options.Extensions[http_policy_pb2.http_policy].html = True
    assert http_routes(protos)[0].status_from_service


def test_calls_for_operators_are_not_routed() -> None:
    descriptors = load_descriptors()
    everything = {f"{file.package}.{service.name}" for file in descriptors.file for service in file.service}
    assert "vyris.reforge.v1.OperatorService" in everything
    assert "vyris.reforge.v1.OperatorService" not in {service.name for service in rpc_services(descriptors)}
    assert not [route for route in http_routes(descriptors) if "OperatorService" in route.rpc]
