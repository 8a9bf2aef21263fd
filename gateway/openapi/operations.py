"""One OpenAPI operation for each RPC that has an HTTP form."""

from __future__ import annotations

import re
from typing import Any, Final

from gateway.openapi.answers import HTML, JSON, ErrorAnswers, own_headers
from gateway.openapi.api import Api, Field, Operation
from gateway.openapi.examples import ANSWERS, BODIES, PARAMETERS
from gateway.openapi.raw_bodies import ANSWER_HEADERS, FORMS, JSON_ANSWERS, REQUEST_HEADERS, UNHEALTHY
from gateway.openapi.schemas import Schemas
from gateway.routes import HEALTH_PATH

Object = dict[str, Any]

FORM: Final = "application/x-www-form-urlencoded"
_HTTP_BODY: Final = ".google.api.HttpBody"
_BODILESS: Final = (204, 304)
_SECURITY: Final[dict[str, list[Object]]] = {
    "": [],
    "device": [{"DeviceProof": []}],
    "device-optional": [{}, {"DeviceProof": []}],
    "pass": [{"ApplePass": []}],
}
_USER_TOKEN: Final[Object] = {"UserToken": []}
_USER_FIELD: Final = "user_id"
_SUCCESS_WORDS: Final = {
    200: "Done.",
    201: "Made.",
    202: "Taken; the rest follows.",
    204: "Nothing to tell.",
    304: "Not changed.",
}


class Operations:
    """Makes operations, and collects what they refer to in `schemas` and `errors`."""

    def __init__(self, api: Api, schemas: Schemas, errors: ErrorAnswers) -> None:
        self._api = api
        self._schemas = schemas
        self._errors = errors

    def write(self, operation: Operation) -> Object:
        """The operation object (OpenAPI 3.1, section 4.8.10)."""
        first, _, rest = operation.comment.partition(". ")
        written: Object = {
            "operationId": operation.rpc[0].lower() + operation.rpc[1:],
            "tags": [operation.service.removesuffix("Service")],
            "summary": first.rstrip("."),
        }
        if rest:
            written["description"] = rest
        parameters = self._parameters(operation)
        if parameters:
            written["parameters"] = parameters
        if operation.body:
            written["requestBody"] = self._request_body(operation)
        written["responses"] = {str(status): answer for status, answer in sorted(self._answers(operation).items())}
        written["security"] = self._security(operation)
        return written

    def _security(self, operation: Operation) -> list[Object]:
        """The alternatives of a caller; each with the user's token if the request names a user."""
        choices = _SECURITY[operation.policy.proof]
        if all(field.name != _USER_FIELD for field in self._api.messages[operation.request].fields):
            return choices
        choices = choices or [{}]
        return [*choices, *({**choice, **_USER_TOKEN} for choice in choices)]

    def _parameters(self, operation: Operation) -> list[Object]:
        fields = {field.name: field for field in self._api.messages[operation.request].fields}
        parameters = [self._parameter(name, fields[name], "path") for name in operation.path_variables]
        for name in operation.policy.query_parameters:
            parameters.append(self._parameter(name, fields[_snake_case(name)], "query"))
        if operation.rpc in REQUEST_HEADERS:
            parameters.append(REQUEST_HEADERS[operation.rpc])
        return parameters

    def _parameter(self, name: str, field: Field, place: str) -> Object:
        schema = self._schemas.of_field(field)
        description = schema.pop("description", "")
        parameter: Object = {
            "name": name,
            "in": place,
            "required": place == "path" or field.required,
            "description": description,
            "schema": schema,
            "example": PARAMETERS[name],
        }
        return parameter

    def _request_body(self, operation: Operation) -> Object:
        examples = {name: {"value": value} for name, value in BODIES[operation.rpc].items()}
        if operation.rpc in FORMS:
            return {"required": True, "content": {FORM: {"schema": FORMS[operation.rpc], "examples": examples}}}
        schema = self._schemas.request(operation.request, without=operation.path_variables)
        return {"required": True, "content": {JSON: {"schema": schema, "examples": examples}}}

    def _answers(self, operation: Operation) -> dict[int, Object]:
        if operation.path == HEALTH_PATH:
            unhealthy = {
                "description": "One of the services cannot serve.",
                "headers": own_headers(),
                "content": {JSON: {"schema": UNHEALTHY, "example": {"status": "unhealthy"}}},
            }
            return {200: self._success(operation, 200), 503: unhealthy}
        policy = operation.policy
        errors = self._errors.of(
            policy.errors,
            templated=bool(operation.path_variables),
            page_type=policy.media_type if policy.html else "",
        )
        successes = {policy.success_status or 200, *policy.further_success_statuses}
        return {**{status: self._success(operation, status) for status in successes}, **errors}

    def _success(self, operation: Operation, status: int) -> Object:
        headers = {**own_headers(status), **ANSWER_HEADERS.get(operation.rpc, {})}
        answer: Object = {"description": _SUCCESS_WORDS[status], "headers": headers}
        if status not in _BODILESS:
            answer["content"] = self._content(operation)
        return answer

    def _content(self, operation: Operation) -> Object:
        rpc, media_type = operation.rpc, operation.policy.media_type
        if media_type:
            return {media_type: {"schema": {"type": "string"}} if media_type in (HTML, "text/plain") else {}}
        if operation.answer == _HTTP_BODY:
            return {JSON: {"schema": JSON_ANSWERS[rpc], "example": ANSWERS[rpc]}}
        return {JSON: {"schema": self._schemas.answer(operation.answer), "example": ANSWERS[rpc]}}


def _snake_case(name: str) -> str:
    return re.sub(r"[A-Z]", lambda found: "_" + found[0].lower(), name)
