"""The OpenAPI document says what the protos, the errors and the contract say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from gateway.openapi.api import Api
from gateway.openapi.document import PAGES, build
from gateway.pages.__main__ import STATIC, made
from gateway.routes import http_routes, load_descriptors
from gateway.static_pages import load_pages
from services.server.runtime import fields
from services.server.runtime.request_checks import compile_complaint
from vyris.bounds import field_bounds
from vyris.errors import ERRORS_BY_REASON, VyrisError
from vyris.mint.v1 import mint_pb2

DOCUMENT = build(Api.load())


def resolve(thing: dict[str, Any]) -> dict[str, Any]:
    reference = thing.get("$ref")
    if reference is None:
        return thing
    found: Any = DOCUMENT
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return {**found, **{key: value for key, value in thing.items() if key != "$ref"}}


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def validator(schema: dict[str, Any]) -> Any:
    whole = {**schema, "components": DOCUMENT["components"]}
    return jsonschema.Draft202012Validator(whole)


def test_the_document_is_valid_openapi_3_1() -> None:
    assert DOCUMENT["openapi"].startswith("3.1.")
    assert list(OpenAPIV31SpecValidator(DOCUMENT).iter_errors()) == []


def test_the_committed_document_is_what_the_generator_makes() -> None:
    there = {path.name: path.read_text(encoding="utf-8") for path in STATIC.iterdir() if path.is_file()}
    assert there == made()


def test_every_path_that_the_gateway_serves_is_described_and_no_other() -> None:
    served = {(route.template, route.http_method.lower()) for route in http_routes(load_descriptors())}
    served |= {(page.path, "get") for page in load_pages(STATIC)}
    assert {(path, method) for path, method, _ in operations()} == served


def test_operations_and_pages_have_names_of_their_own() -> None:
    names = [operation["operationId"] for _, _, operation in operations()]
    assert len(names) == len(set(names))
    assert {page[0] for page in PAGES} == {page.path for page in load_pages(STATIC)}


@pytest.mark.parametrize("kind", ERRORS_BY_REASON.values(), ids=lambda kind: kind.reason)
def test_every_error_is_possible_somewhere(kind: type[VyrisError]) -> None:
    listed = {
        (status, reason)
        for _, _, operation in operations()
        for status, answer in operation["responses"].items()
        for content in resolve(answer).get("content", {}).values()
        for reason in content.get("schema", {}).get("properties", {}).get("error", {}).get("enum", ())
    }
    assert (str(kind.default_http_status), kind.reason) in listed


def test_an_error_body_has_exactly_three_keys() -> None:
    schema = validator({"$ref": "#/components/schemas/Error"})
    body = {"error": "SOLD_OUT", "message": "No", "retryable": False}
    assert schema.is_valid(body)
    for key in body:
        assert not schema.is_valid({name: value for name, value in body.items() if name != key})
    assert not schema.is_valid({**body, "details": []})
    assert not schema.is_valid({**body, "error": "OTHER"})


def test_errors_that_are_possible_everywhere_are_listed_everywhere() -> None:
    for path, _, operation in operations():
        if path != "/health" and operation["tags"] != ["Pages"]:
            assert {"413", "422", "429", "500", "503", "504"} <= operation["responses"].keys(), path


def test_every_example_fits_its_schema() -> None:
    checked = 0
    for path, _, operation in operations():
        contents = [
            *operation.get("requestBody", {}).get("content", {}).values(),
            *(
                part
                for answer in operation["responses"].values()
                for part in resolve(answer).get("content", {}).values()
            ),
        ]
        for content in contents:
            values = [example["value"] for example in content.get("examples", {}).values()]
            values += [content["example"]] if "example" in content else []
            for value in values:
                if "properties" in content["schema"] or "$ref" in content["schema"]:
                    validator(content["schema"]).validate(value)
                    checked += 1
        for parameter in operation.get("parameters", ()):
            if parameter.get("example"):
                validator(parameter["schema"]).validate(parameter["example"])
        assert contents, path
    assert checked > 60


SAMPLES = ["a", "~" * 128, "a b", "", " ", "   ", "a" * 129, "é", "a\nb", "\x00", "genesis", "Genesis", "a-1", "x" * 33]


@pytest.mark.parametrize("text", SAMPLES)
def test_the_documented_forms_are_those_that_the_services_ask_for(text: str) -> None:
    mint = DOCUMENT["components"]["schemas"]["MintRequest"]["properties"]
    complain = compile_complaint(field_bounds(mint_pb2.MintRequest, "user_id"), "user_id")
    assert validator(mint["user_id"]).is_valid(text) == (complain(text) is None)


@pytest.mark.parametrize(
    ("tier", "year"), [(tier, year) for tier in SAMPLES for year in ("2025", "1999", "2101", "2100")]
)
def test_the_documented_drop_names_are_those_that_the_services_ask_for(tier: str, year: str) -> None:
    mint = DOCUMENT["components"]["schemas"]["MintRequest"]["properties"]
    documented = validator(mint["tier"]).is_valid(tier) and validator(mint["year"]).is_valid(year)
    try:
        fields.drop_name(tier, year)
        accepted = True
    except VyrisError:
        accepted = False
    assert documented == accepted


def test_tier_and_year_come_together() -> None:
    schema = validator({"$ref": "#/components/schemas/MintRequest"})
    body = {"receipt_data": "r", "user_id": "u"}
    assert schema.is_valid(body)
    assert not schema.is_valid({**body, "tier": "genesis"})
    assert schema.is_valid({**body, "tier": "genesis", "year": "2025"})


def test_the_document_is_json_of_bounded_size() -> None:
    assert len(json.dumps(DOCUMENT)) < 256 * 1024
