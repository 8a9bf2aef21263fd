"""Bodies without a proto message: forms, and JSON that the services write themselves."""

from __future__ import annotations

from typing import Any, Final

from vyris.bounds import field_bounds
from vyris.mint.v1 import mint_pb2

Object = dict[str, Any]

_TIER: Final = field_bounds(mint_pb2.Membership, "tier").pattern.strip("^$")
_TOKEN: Final = {"type": "string", "description": "The link's token."}

FORMS: Final[dict[str, Object]] = {
    "SubmitConfirmPage": {
        "type": "object",
        "properties": {
            "token": _TOKEN,
            "confirmation_code": {
                "type": "string",
                "description": "The code that the new device shows, where the request has one.",
            },
        },
        "required": ["token"],
    },
    "SubmitRefusePage": {"type": "object", "properties": {"token": _TOKEN}, "required": ["token"]},
    "SubmitUndoPage": {"type": "object", "properties": {"token": _TOKEN}, "required": ["token"]},
}

JSON_ANSWERS: Final[dict[str, Object]] = {
    "ListUpdatedPasses": {
        "type": "object",
        "properties": {
            "serialNumbers": {"type": "array", "items": {"type": "string", "format": "uuid"}, "minItems": 1},
            "lastUpdated": {"type": "string", "description": "Opaque; sent back as `passesUpdatedSince`."},
        },
        "required": ["serialNumbers", "lastUpdated"],
    },
    "GetHealth": {
        "type": "object",
        "description": "Details may follow the status.",
        "properties": {
            "status": {"type": "string", "enum": ["ok", "degraded"], "description": "`degraded` while Redis is away."}
        },
        "required": ["status"],
    },
}

UNHEALTHY: Final[Object] = {
    "type": "object",
    "properties": {"status": {"type": "string", "enum": ["unhealthy"]}},
    "required": ["status"],
    "additionalProperties": False,
}

_SHARED_HEADERS: Final[Object] = {
    "ETag": {"description": "Names this answer (RFC 9110).", "schema": {"type": "string"}},
    "Cache-Control": {
        "description": "public, max-age=1, stale-while-revalidate=5",
        "schema": {"type": "string"},
    },
}
# Additional headers of some answers, described as Apple or RFC 9110 does.
ANSWER_HEADERS: Final[dict[str, Object]] = {
    "IssuePass": {
        "Content-Disposition": {
            "description": 'attachment; filename="vyris-<tier>-<sequence_num>.pkpass"',
            "schema": {"type": "string", "pattern": rf'^attachment; filename="vyris-{_TIER}-[0-9]+\.pkpass"$'},
        }
    },
    "GetDrop": _SHARED_HEADERS,
    "GetDraw": _SHARED_HEADERS,
    "ListLeaves": {"Cache-Control": _SHARED_HEADERS["Cache-Control"]},
    "ListWithdrawn": {"Cache-Control": _SHARED_HEADERS["Cache-Control"]},
    "ListOffers": {"Cache-Control": _SHARED_HEADERS["Cache-Control"]},
    "GetLatestPass": {
        "Last-Modified": {"description": "When the pass last changed (RFC 9110).", "schema": {"type": "string"}}
    },
}
_IF_NONE_MATCH: Final[Object] = {
    "name": "If-None-Match",
    "in": "header",
    "required": False,
    "description": "`ETag` of the answer that the caller has (RFC 9110).",
    "schema": {"type": "string"},
}
REQUEST_HEADERS: Final[dict[str, Object]] = {
    "GetDrop": _IF_NONE_MATCH,
    "GetDraw": _IF_NONE_MATCH,
    "GetLatestPass": {
        "name": "If-Modified-Since",
        "in": "header",
        "required": False,
        "description": "`Last-Modified` of the copy that the device has (RFC 9110).",
        "schema": {"type": "string"},
    },
}
