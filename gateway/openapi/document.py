"""Build the whole document."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any, Final

from gateway.openapi.answers import ERROR_SCHEMA, HEADERS, JSON, ErrorAnswers, own_headers
from gateway.openapi.api import Api
from gateway.openapi.examples import PARAMETERS
from gateway.openapi.operations import Operations
from gateway.openapi.schemas import Schemas

Object = dict[str, Any]

REPOSITORY: Final = Path(__file__).resolve().parents[2]
_DESCRIPTION: Final = (
    "A receipt becomes a numbered membership of a drop, once; a hold keeps a number during a payment; a draw gives "
    "numbers by lot; a membership becomes a wallet pass; two members prove that they met; a membership moves to a new "
    "device.\n\n"
    "JSON names are `snake_case`. Times are RFC 3339, UTC, milliseconds, and empty where unset. Unknown fields of a "
    "request are ignored. A request's body is at most 64 KiB. Every error has exactly three keys: `error`, `message`, "
    "`retryable`. The same calls are served as native gRPC on the gateway's other port."
)
_DEVICE_PROOF: Final = (
    "A proof that the membership's enrolled device makes exactly this request, now: a compact ES256 JWS in the "
    "form of RFC 9449 with the claims `htm`, `htu`, `iat`, `jti` and `req` (base64url SHA-256 of the request's set "
    "fields as `name=value` lines). It works once, for 60 seconds. `vyris dev proof` and the Python client make them."
)
_IDENTITY: Final = (
    "The user's own token, from the identity provider that `USER_JWT_ISSUER` names: a JWT whose `sub` is the request's "
    "`user_id`. If that setting is set, every request with a `user_id` needs a token; otherwise it is ignored."
)
_APPLE: Final = "`ApplePass <token>`, with the `authenticationToken` in the pass itself."
# Files that the gateway serves: path, description, media type.
PAGES: Final = (
    ("/openapi.json", "getOpenApi", "This document", "application/json"),
    ("/docs", "getDocs", "This document for people, with requests to try", "text/html; charset=utf-8"),
    (
        "/drops/{tier}/{year}/live",
        "getLiveView",
        "A drop for a screen: what remains and how fast it goes, as it changes",
        "text/html; charset=utf-8",
    ),
    (
        "/drops/{tier}/{year}/draw",
        "getDrawPage",
        "A draw for people: what is running, and the result of an entry that they paste",
        "text/html; charset=utf-8",
    ),
    ("/draw/verify.py", "getDrawVerifier", "A script that checks a draw from outside", "text/plain; charset=utf-8"),
)
_PAGE_ERRORS: Final = (422, 429, 503)


def build(api: Api) -> Object:
    """The OpenAPI document as an object."""
    schemas, errors = Schemas(api), ErrorAnswers()
    operations = Operations(api, schemas, errors)
    paths: dict[str, Object] = {}
    for operation in api.operations:
        paths.setdefault(operation.path, {})[operation.http_method] = operations.write(operation)
    for path, identifier, summary, media_type in PAGES:
        methods = paths.setdefault(path, {})
        if "get" in methods:
            # The path of an RPC: a request that accepts this media type gets the page.
            methods["get"]["responses"]["200"]["content"][media_type] = {"schema": {"type": "string"}}
        else:
            methods["get"] = _page(api, errors, path, identifier, summary, media_type)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "VYRIS",
            "version": _version(),
            "summary": "Numbered memberships for drops: mint, hold, draw, encounter, wallet pass, reforge.",
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "The gateway that serves this document"}],
        "tags": [
            *({"name": name.removesuffix("Service"), "description": text} for name, text in api.services.items()),
            {"name": "Pages", "description": "Answered by the gateway itself."},
        ],
        "paths": paths,
        "components": {
            "schemas": {"Error": ERROR_SCHEMA, **dict(sorted(schemas.components.items()))},
            "responses": dict(sorted(errors.components.items())),
            "headers": HEADERS,
            "securitySchemes": {
                "DeviceProof": {"type": "apiKey", "in": "header", "name": "DPoP", "description": _DEVICE_PROOF},
                "UserToken": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": _IDENTITY,
                },
                "ApplePass": {"type": "apiKey", "in": "header", "name": "Authorization", "description": _APPLE},
            },
        },
    }


def as_text(document: Object) -> str:
    """The document as text, as it is served."""
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _page(api: Api, error_answers: ErrorAnswers, path: str, identifier: str, summary: str, media_type: str) -> Object:
    errors = error_answers.of((), templated="{" in path)
    answer: Object = {"description": "Done.", "headers": own_headers(), "content": {media_type: {}}}
    if media_type == JSON:
        answer["content"] = {JSON: {"schema": {"type": "object"}}}
    page: Object = {
        "operationId": identifier,
        "tags": ["Pages"],
        "summary": summary,
        "responses": {
            "200": answer,
            **{str(status): error for status, error in errors.items() if status in (*_PAGE_ERRORS, 404)},
        },
        "security": [],
    }
    if "{" in path:
        page["parameters"] = [_drop_parameter(api, name) for name in ("tier", "year")]
    return page


def _drop_parameter(api: Api, name: str) -> Object:
    field = next(field for field in api.messages[".vyris.mint.v1.GetDropRequest"].fields if field.name == name)
    schema = Schemas(api).of_field(field)
    description = schema.pop("description")
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": description,
        "schema": schema,
        "example": PARAMETERS[name],
    }


def _version() -> str:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return str(project["version"])
