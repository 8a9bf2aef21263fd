"""Read a method's HTTP form: its `google.api.http` rule (google/api/http.proto)."""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

from google.api import annotations_pb2

VARIABLE: Final = re.compile(r"\{([a-z0-9_]+)\}")
"""A variable in a path template: one segment, with the name of a request field."""

_METHODS: Final = ("get", "post", "put", "patch", "delete")


class Binding(NamedTuple):
    """One HTTP method and path of a call."""

    http_method: str
    """`POST`."""
    template: str
    """The path, with variables in braces."""
    body: str
    """The field in the body; `*`: all remaining fields; empty: no body."""


def bindings(options: Any) -> list[Binding]:
    """Read the bindings in a method's `MethodOptions`, the main one first; empty if it has no HTTP form.

    Raises ValueError for an unsupported pattern.
    """
    if not options.HasExtension(annotations_pb2.http):
        return []
    rule = options.Extensions[annotations_pb2.http]
    return [_binding(each) for each in (rule, *rule.additional_bindings)]


def _binding(rule: Any) -> Binding:
    kind = rule.WhichOneof("pattern")
    if kind not in _METHODS:
        raise ValueError(f"unsupported HTTP pattern {kind}")
    return Binding(kind.upper(), getattr(rule, kind), rule.body)
