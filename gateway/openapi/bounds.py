"""The bounds in the protos' options, as JSON Schema."""

from __future__ import annotations

from typing import Any

from vyris.bounds import Bounds

Schema = dict[str, Any]

_DATE_TIME_PREFIX = "^20[0-9]{2}-[0-9]{2}-[0-9]{2}T"


def text_schema(bounds: Bounds, *, in_answer: bool) -> Schema:
    """The schema of a text. In an answer it is also empty if the bounds allow that; a request leaves the field out."""
    schema: Schema = {}
    if bounds.uuid:
        schema["format"] = "uuid"
    if bounds.pattern.startswith(_DATE_TIME_PREFIX):
        schema["format"] = "date-time"
    # A limit in bytes is also a limit in characters: no character is shorter than a byte.
    least = bounds.min_len or bounds.min_bytes or (1 if bounds.required else None)
    most = bounds.max_bytes if bounds.max_len is None else bounds.max_len
    if least is not None:
        schema["minLength"] = least
    if most is not None:
        schema["maxLength"] = most
    if bounds.pattern:
        schema["pattern"] = bounds.pattern
    if bounds.values:
        schema["enum"] = list(bounds.values)
    return {"anyOf": [{"const": ""}, schema]} if in_answer and bounds.may_be_empty else schema


def number_schema(bounds: Bounds) -> Schema:
    """The schema of an integer."""
    limits = {"minimum": bounds.gte, "maximum": bounds.lte}
    return {name: limit for name, limit in limits.items() if limit is not None}
