"""Check requests by the bounds in their protos (`vyris.bounds`), compiled once for each message type.

A UUID is not checked here: by the contract a text that is none names nothing, so that `known_uuid` raises NotFound.
Numbers and texts with listed values are not checked here either: their errors have words of their own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Final, TypeVar

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from vyris.bounds import NOT_BLANK, Bounds, ExactlyOne, Together, read_bounds, read_message_rules
from vyris.errors import InvalidRequest, VyrisError

M = TypeVar("M", bound=Message)
# What is wrong with a value, in words for the caller; None if nothing is.
Complain = Callable[[Any], str | None]
PRINTABLE: Final = "^ *[!-~][ -~]*$"
"""Printable ASCII characters that are not all blank."""
# How an error describes a pattern: a caller reads this and not the expression.
_WORDS: Final = {
    PRINTABLE: "printable ASCII characters",
    "^[a-z0-9-]{1,32}$": "1 to 32 characters of a-z, 0-9 and -",
    "^(20[0-9]{2}|2100)$": "2000 to 2100",
}


def compile_check(
    message: type[M],
    *,
    only: Collection[str] = (),
    apart_from: Collection[str] = (),
    names: Mapping[str, str] | None = None,
    error: Callable[[str], VyrisError] = InvalidRequest,
) -> Callable[[M], None]:
    """Compile the check of a request. It raises `error` for the first value that is out of bounds.

    `only`, `apart_from`: paths of fields (`device.device_id`) to check, or to leave out because other code checks them.
    `names`: how errors call a field, by its path; by default they call it by its path. A field of a message is checked
    with the message's own fields, if it is set. Raises ValueError for a path without a bound.
    """
    descriptor = message.DESCRIPTOR
    rules = [] if only else [_compile_rule(rule) for rule in read_message_rules(descriptor.GetOptions())]
    fields = list(_compile_fields(descriptor, only, apart_from, names or {}))
    own = [(steps[0], may_be_empty, complain) for steps, may_be_empty, complain in fields if len(steps) == 1]
    nested = [(steps[0], steps[1], complain) for steps, _, complain in fields if len(steps) > 1]

    def check(request: M) -> None:
        for complain in rules:
            complaint = complain(request)
            if complaint is not None:
                raise error(complaint)
        for name, may_be_empty, complain in own:
            text = getattr(request, name)
            if text or not may_be_empty:  # most texts that may be empty are: this saves a call for each
                complaint = complain(text)
                if complaint is not None:
                    raise error(complaint)
        for outer, name, complain in nested:
            if request.HasField(outer):
                complaint = complain(getattr(getattr(request, outer), name))
                if complaint is not None:
                    raise error(complaint)

    return check


def _compile_fields(
    message: Any, only: Collection[str], apart_from: Collection[str], names: Mapping[str, str]
) -> Iterator[tuple[tuple[str, ...], bool, Complain]]:
    """Each chosen text: the steps to it, whether it may be empty, its check."""
    texts = list(_text_fields(message))
    unknown = {*only, *apart_from, *names} - {path for path, _, _ in texts}
    if unknown:
        raise ValueError(f"{message.name} has no bounds for {sorted(unknown)}")
    for path, steps, bounds in texts:
        if (not only or path in only) and path not in apart_from:
            yield steps, bounds.may_be_empty, compile_complaint(bounds, names.get(path, path))


def _text_fields(message: Any) -> Iterator[tuple[str, tuple[str, ...], Bounds]]:
    """The path and the bounds of each text, in the order of the fields; of nested messages one level down."""
    for field in message.fields:
        bounds = read_bounds(field.GetOptions())
        has_own_words = bounds.uuid or bounds.values
        if field.type == FieldDescriptor.TYPE_STRING and bounds != Bounds() and not has_own_words:
            yield field.name, (field.name,), bounds
        elif field.type == FieldDescriptor.TYPE_MESSAGE and not field.is_repeated:
            for inner, steps, inner_bounds in _text_fields(field.message_type):
                yield f"{field.name}.{inner}", (field.name, *steps), inner_bounds


def _compile_rule(rule: ExactlyOne | Together) -> Complain:
    message = rule.message
    if isinstance(rule, Together):
        one, other = rule.fields

        def complain(request: Any) -> str | None:
            return None if bool(getattr(request, one)) == bool(getattr(request, other)) else message

    else:
        names = rule.fields

        def complain(request: Any) -> str | None:
            return None if sum(bool(getattr(request, name)) for name in names) == 1 else message

    return complain


def compile_complaint(bounds: Bounds, name: str) -> Complain:
    """Compile the check of one text. `name`: how the complaint calls the field."""
    if bounds.pattern and bounds.pattern != NOT_BLANK:
        return _compile_form(bounds, name)
    missing = f"{name} is required" if bounds.required else f"{name} is missing"
    may_be_empty = bounds.may_be_empty or not (bounds.required or bounds.min_len or bounds.min_bytes)
    may_be_blank = bounds.pattern != NOT_BLANK
    most_bytes, most = bounds.max_bytes, bounds.max_len
    limit = f"{most_bytes} bytes" if most_bytes is not None else f"{most} characters"

    def complain(text: str) -> str | None:
        if not text:
            return None if may_be_empty else missing
        if not may_be_blank and text.isspace():
            return missing
        if most_bytes is not None:
            is_longer = len(text) > most_bytes or (not text.isascii() and len(text.encode()) > most_bytes)
        else:
            is_longer = most is not None and len(text) > most
        return f"{name} must be at most {limit}" if is_longer else None

    return complain


def _compile_form(bounds: Bounds, name: str) -> Complain:
    """The check of a text with a form: one sentence says all its bounds."""
    matches = compile_pattern(bounds.pattern)
    least, most, may_be_empty = bounds.min_len or 0, bounds.max_len, bounds.may_be_empty
    refusal = f"{name} must be {describe_form(bounds)}"

    def complain(text: str) -> str | None:
        # The length comes first: it limits the work of the expression.
        if (most is None or least <= len(text) <= most) and matches(text):
            return None
        return None if may_be_empty and not text else refusal

    return complain


def describe_form(bounds: Bounds) -> str:
    """The form of a text, for people: `1 to 32 characters of a-z, 0-9 and -`."""
    size = "" if bounds.max_len is None else f"{bounds.min_len or 0} to {bounds.max_len} "
    return size + _WORDS.get(bounds.pattern, f"a text that matches {bounds.pattern}")


def compile_pattern(pattern: str) -> Callable[[str], object]:
    """Compile a rule's expression. Python's `$` also matches before a last line feed, RE2's does not."""
    if pattern.startswith("^") and pattern.endswith("$"):
        return re.compile(pattern[1:-1]).fullmatch
    return re.compile(pattern).search
