"""Where a call lives over HTTP: a method's `google.api.http` rule (google/api/http.proto)."""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

from google.api import annotations_pb2

VARIABLE: Final = re.compile(r"\{([a-z0-9_]+)\}")
"""A variable in a path template: one segment, named as the request's field."""

_METHODS: Final = ("get", "post", "put", "patch", "delete")


class Binding(NamedTuple):
    """One HTTP method and path of a call."""

    http_method: str
    """`POST`."""
    template: str
    """The path, with variables in braces."""
    body: str
    """Which field the body is; `*` for all that is left, empty for none."""


def bindings(options: Any) -> list[Binding]:
    """Those of a method with these `MethodOptions`, the rule's own first; none where it has no HTTP form.

    Raises ValueError for a pattern that no caller of ours could send.
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
