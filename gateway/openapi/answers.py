"""The possible answers: the JSON error by status and reason, and the headers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from vyris.errors import ERRORS_BY_REASON, DropNotOpen, VyrisError

Object = dict[str, Any]

JSON: Final = "application/json"
HTML: Final = "text/html; charset=utf-8"
# The contract: every endpoint may answer these errors, besides the method's own.
EVERYWHERE: Final[dict[int, tuple[str, ...]]] = {
    413: ("INVALID_REQUEST",),
    422: ("INVALID_REQUEST",),
    429: ("RATE_LIMITED",),
    500: ("RETRYABLE",),
    503: ("RETRYABLE",),
    504: ("RETRYABLE",),
}
SAID_EVERYWHERE: Final = {
    413: "The body is larger than 64 KiB.",
    429: "Too many requests. `Retry-After` says when to send it again.",
    500: "The service could not finish, or does not know whether it did. The same request may be sent again.",
    503: "Shed, or unreachable. The same request may be sent again, after `Retry-After` where it is set.",
    504: "Too slow. The same request may be sent again.",
}
_WITH_RETRY_AFTER: Final = (429, 503)

ERROR_SCHEMA: Final[Object] = {
    "type": "object",
    "description": "Every error body has exactly these three keys.",
    "properties": {
        "error": {
            "type": "string",
            "enum": list(ERRORS_BY_REASON),
            "description": "What went wrong, for programs.",
        },
        "message": {"type": "string", "minLength": 1, "description": "What went wrong, for people."},
        "retryable": {"type": "boolean", "description": "Whether the same request may succeed when sent again."},
    },
    "required": ["error", "message", "retryable"],
    "additionalProperties": False,
}
HEADERS: Final[Object] = {
    "RequestId": {
        "description": "The caller's own `X-Request-Id`, or a new one. Name it when you ask about the request.",
        "schema": {"type": "string"},
    },
    "RetryAfter": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 0}},
}


class ErrorAnswers:
    """Makes references to error answers, and collects the answers in `components`."""

    def __init__(self) -> None:
        self.components: dict[str, Object] = {}

    def of(self, reasons: Iterable[str], *, templated: bool, page_type: str = "") -> dict[int, Object]:
        """The references for a method with these reasons of its own, by status.

        `templated`: whether the path has variables. `page_type`: the media type of pages that may answer failures.
        """
        return {
            status: self._add_component(status, names, page_type)
            for status, names in _reasons_by_status(reasons, templated=templated).items()
        }

    def _add_component(self, status: int, reasons: list[str], page_type: str) -> Object:
        name = "-".join(["Page" if page_type else "Error", str(status), *reasons])
        if name not in self.components:
            self.components[name] = answer = _error(status, reasons)
            if page_type:
                answer["content"] = {page_type: {"schema": {"type": "string"}}, **answer["content"]}
        return {"$ref": f"#/components/responses/{name}"}


def _reasons_by_status(reasons: Iterable[str], *, templated: bool) -> dict[int, list[str]]:
    by_status = {status: list(names) for status, names in EVERYWHERE.items()}
    for reason in [*reasons, *(["NOT_FOUND"] if templated else [])]:
        status = ERRORS_BY_REASON[reason].default_http_status
        names = by_status.setdefault(status, [])
        if reason not in names:
            names.insert(0, reason)
    return dict(sorted(by_status.items()))


def _error(status: int, reasons: list[str]) -> Object:
    classes = [ERRORS_BY_REASON[reason] for reason in reasons]
    schema: Object = {"$ref": "#/components/schemas/Error", "properties": {"error": {"enum": reasons}}}
    own_words = " ".join(f"`{kind.reason}`: {first_line(kind)}" for kind in classes)
    answer: Object = {
        "description": SAID_EVERYWHERE.get(status, own_words),
        "headers": own_headers(status),
        "content": {JSON: {"schema": schema, "examples": {kind.reason: {"value": _example(kind)} for kind in classes}}},
    }
    return answer


def own_headers(status: int = 200) -> Object:
    """Headers of an answer with this status."""
    headers = {"X-Request-Id": {"$ref": "#/components/headers/RequestId"}}
    if status in _WITH_RETRY_AFTER:
        headers["Retry-After"] = {"$ref": "#/components/headers/RetryAfter"}
    return headers


def first_line(kind: type[VyrisError]) -> str:
    """The docstring of an error's class."""
    return (kind.__doc__ or "").strip().splitlines()[0]


def _example(kind: type[VyrisError]) -> Object:
    return {"error": kind.reason, "message": kind.default_message, "retryable": kind.default_retryable}


def retryable_word(kind: type[VyrisError]) -> str:
    """Whether to retry, as text for a table."""
    if kind is DropNotOpen:
        return "before it opens"
    return "yes" if kind.default_retryable else "no"
