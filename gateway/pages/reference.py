"""The content of the reference page, from the OpenAPI document."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from gateway.openapi.answers import EVERYWHERE, SAID_EVERYWHERE, first_line, retryable_word
from gateway.openapi.document import PAGES
from gateway.openapi.examples import HOLD, MEMBERSHIP, REFORGE
from vyris.errors import ERRORS_BY_REASON

Object = dict[str, Any]

_PROOFS: Final = {"DeviceProof": "DPoP", "ApplePass": "Authorization"}
# Pages that a reader opens in a browser instead of sending a request.
_NOT_TRIED: Final = {identifier for _, identifier, _, _ in PAGES}


def facts(document: Object) -> Object:
    """The values for `sources/docs.html.j2`."""
    reader = _Reader(document)
    operations = [
        reader.operation(path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    tags = [
        {**tag, "operations": [operation for operation in operations if operation["tag"] == tag["name"]]}
        for tag in document["tags"]
    ]
    return {
        "info": document["info"],
        "tags": [tag for tag in sorted(tags, key=_reading_order) if tag["operations"]],
        "errors": [_error(name) for name in ERRORS_BY_REASON],
        "everywhere": [{"status": status, "words": words} for status, words in SAID_EVERYWHERE.items()],
        "ids": {"membership": MEMBERSHIP, "reforge": REFORGE, "hold": HOLD},
        "schemes": document["components"]["securitySchemes"],
    }


def _reading_order(tag: Object) -> int:
    order = ("Mint", "Hold", "Draw", "Wallet", "Encounter", "Reforge", "Suite", "Pages")
    return order.index(tag["name"]) if tag["name"] in order else len(order)


def _error(name: str) -> Object:
    kind = ERRORS_BY_REASON[name]
    statuses = {kind.default_http_status, *(status for status, names in EVERYWHERE.items() if name in names)}
    return {
        "name": name,
        "statuses": ", ".join(map(str, sorted(statuses))),
        "grpc": kind.grpc_code.name,
        "retry": retryable_word(kind),
        "when": first_line(kind),
    }


class _Reader:
    """Follows the references of one document."""

    def __init__(self, document: Object) -> None:
        self._document = document

    def operation(self, path: str, method: str, operation: Object) -> Object:
        body = operation.get("requestBody")
        content = next(iter(body["content"].items()), None) if body else None
        schemes = {name for choice in operation["security"] for name in choice}
        proof = next((header for name, header in _PROOFS.items() if name in schemes), "")
        # Errors of every operation are listed once, in the section on errors.
        own, shared = {}, []
        for status, answer in operation["responses"].items():
            if int(status) in SAID_EVERYWHERE:
                shared.append(status)
            else:
                own[status] = answer
        return {
            "id": operation["operationId"],
            "tag": operation["tags"][0],
            "method": method.upper(),
            "path": path,
            "summary": operation["summary"],
            "description": operation.get("description", ""),
            "proof": proof,
            "proof_optional": {} in operation["security"],
            "user_token": "UserToken" in schemes,
            "parameters": [self._parameter(parameter) for parameter in operation.get("parameters", [])],
            "media_type": content[0] if content else "",
            "fields": list(self._fields(content[1]["schema"])) if content else [],
            "examples": _examples(content[1]) if content else [],
            "answers": [self._answer(status, answer) for status, answer in own.items()],
            "shared_answers": shared,
            "tried": operation["operationId"] not in _NOT_TRIED,
        }

    def _resolve(self, thing: Object) -> Object:
        reference = thing.get("$ref")
        if reference is None:
            return thing
        found: Any = self._document
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]
        return {**found, **{key: value for key, value in thing.items() if key != "$ref"}}

    def _parameter(self, parameter: Object) -> Object:
        return {
            "name": parameter["name"],
            "place": parameter["in"],
            "required": parameter["required"],
            "type": self._type(parameter["schema"]),
            "description": parameter["description"],
            "example": parameter.get("example", ""),
        }

    def _fields(self, schema: Object, prefix: str = "") -> Iterator[Object]:
        schema = self._resolve(schema)
        for name, field in schema.get("properties", {}).items():
            resolved = self._resolve(field)
            yield {
                "name": prefix + name,
                "required": name in schema.get("required", ()),
                "type": self._type(resolved),
                "description": field.get("description", resolved.get("description", "")),
            }
            inner = self._resolve(resolved["items"]) if resolved.get("type") == "array" else resolved
            mark = "[]." if resolved.get("type") == "array" else "."
            yield from self._fields(inner, f"{prefix}{name}{mark}")

    def _type(self, schema: Object) -> str:
        """The type in a word or two. The description contains the bounds."""
        words = [str(schema.get("format") if schema.get("format") == "uuid" else schema.get("type", "any"))]
        if words == ["array"]:
            words = ["list of " + self._type(self._resolve(schema["items"]))]
        if "enum" in schema:
            words.append(" | ".join(str(value) for value in schema["enum"]))
        return ", ".join(words)

    def _answer(self, status: str, answer: Object) -> Object:
        answer = self._resolve(answer)
        content = answer.get("content", {})
        media_type = next(iter(content), "")
        first = content.get(media_type, {})
        examples = _examples(next((part for part in content.values() if "examples" in part or "example" in part), {}))
        return {
            "status": status,
            "good": status < "400",
            "description": answer["description"],
            "media_type": media_type,
            "fields": list(self._fields(first["schema"])) if status < "400" and first.get("schema") else [],
            "examples": examples,
        }


def _examples(content: Object) -> list[Object]:
    values = {name: example["value"] for name, example in content.get("examples", {}).items()}
    if "example" in content:
        values = {"example": content["example"]}
    return [
        {"name": name.replace("_", " "), "text": json.dumps(value, indent=2, ensure_ascii=False)}
        for name, value in values.items()
    ]
