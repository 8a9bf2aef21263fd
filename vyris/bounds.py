"""The bounds of fields, as the protos state them in the options of `buf.validate` (https://protovalidate.com).

Services check by them and the OpenAPI document shows them. This module knows those rules of protovalidate that our
protos use. Any other rule raises `UnknownRule`, so that no rule is in a proto and without effect.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.message import Message

from buf.validate import validate_pb2

NOT_BLANK: Final = r"\S"
"""The pattern of a text that must have a visible character."""

_PER_TYPE: Final = ("string", "int32")
_TOGETHER: Final = re.compile(r"has\(this\.(\w+)\) == has\(this\.(\w+)\)")


class UnknownRule(ValueError):
    """A proto has a rule that this module does not know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """The rules of one field, named as in `buf.validate`. None and empty: no such rule."""

    required: bool = False
    """The value must not be empty."""
    may_be_empty: bool = False
    """The other rules hold only for a value that is not empty (`ignore = IGNORE_IF_ZERO_VALUE`)."""
    min_len: int | None = None
    """Characters; `max_len` as well."""
    max_len: int | None = None
    min_bytes: int | None = None
    """Bytes of UTF-8; `max_bytes` as well."""
    max_bytes: int | None = None
    pattern: str = ""
    """A regular expression of RE2. A value matches if the expression finds it anywhere in the text."""
    values: tuple[str, ...] = ()
    """The only values (`in`)."""
    uuid: bool = False
    gte: int | None = None
    lte: int | None = None


@dataclass(frozen=True, slots=True)
class ExactlyOne:
    """Exactly one of these fields is set."""

    fields: tuple[str, ...]

    @property
    def message(self) -> str:
        """What a caller reads who sets none, or several."""
        return f"Exactly one of {', '.join(self.fields[:-1])} and {self.fields[-1]} is required"


@dataclass(frozen=True, slots=True)
class Together:
    """Both of these fields are set, or neither."""

    fields: tuple[str, str]
    message: str
    """What a caller reads who sets one of them."""


def field_bounds(message: type[Message], name: str) -> Bounds:
    """The bounds of one field of a message. Raises KeyError for an unknown field, UnknownRule."""
    return read_bounds(message.DESCRIPTOR.fields_by_name[name].GetOptions())


def limit_of(message: type[Message], name: str) -> int:
    """The limit of one field: the most bytes or else characters of a text, the largest number.

    Raises KeyError for an unknown field, UnknownRule, ValueError if the field has no limit.
    """
    bounds = field_bounds(message, name)
    for limit in (bounds.max_bytes, bounds.max_len, bounds.lte):
        if limit is not None:
            return limit
    raise ValueError(f"{message.DESCRIPTOR.name}.{name} has no limit")


def read_bounds(options: Any) -> Bounds:
    """The bounds in a field's options (`google.protobuf.FieldOptions`). Raises UnknownRule."""
    found: dict[str, Any] = {}
    for kind, value in options.Extensions[validate_pb2.field].ListFields():
        if kind.name == "required":
            found["required"] = value
        elif kind.name == "ignore" and value == validate_pb2.IGNORE_IF_ZERO_VALUE:
            found["may_be_empty"] = True
        elif kind.name in _PER_TYPE:
            found |= dict(_rules(value))
        else:
            raise UnknownRule(kind.full_name)
    return Bounds(**found)


def _rules(rules: Message) -> Iterator[tuple[str, Any]]:
    for rule, value in rules.ListFields():
        if rule.name == "in":
            yield "values", tuple(value)
        elif rule.name in Bounds.__dataclass_fields__:
            yield rule.name, value
        else:
            raise UnknownRule(rule.full_name)


def read_message_rules(options: Any) -> list[ExactlyOne | Together]:
    """The rules in a message's options (`google.protobuf.MessageOptions`). Raises UnknownRule."""
    rules = options.Extensions[validate_pb2.message]
    found: list[ExactlyOne | Together] = []
    for one_of in rules.oneof:
        if not one_of.required:
            raise UnknownRule("a oneof that may be empty")
        found.append(ExactlyOne(tuple(one_of.fields)))
    for rule in rules.cel:
        both = _TOGETHER.fullmatch(rule.expression)
        if both is None:
            raise UnknownRule(rule.expression)
        found.append(Together((both[1], both[2]), rule.message))
    if rules.cel_expression:
        raise UnknownRule("cel_expression")
    return found
