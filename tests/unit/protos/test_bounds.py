"""The bounds in the protos: known to their reader, the same for each name, and as comments and schema say."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FieldOptions, MessageOptions

from buf.validate import validate_pb2
from gateway.openapi.api import Api, Field, Message
from services.data.audit_log import REASON_LIMIT
from services.server.runtime.request_checks import compile_pattern
from vyris.bounds import Bounds, ExactlyOne, Together, UnknownRule, read_bounds, read_message_rules
from vyris.reforge.v1 import operator_pb2

API = Api.load()
SCHEMA = Path(__file__).resolve().parents[3] / "schema" / "migrations" / "0001_mint.sql"
# A comment that speaks of a size or a form.
SPEAKS = re.compile(r"\d[\d,]* (?:to \d|characters|bytes|KiB|printable)|RFC 3339|\bUUID\b")
# The numbers of a comment that are bounds.
RANGE = re.compile(r"\b([\d,]+) to ([\d,]+) (bytes|characters|printable)")
MOST = re.compile(r"\bat most ([\d,]+) (KiB|bytes|characters|printable)")
TIME = "20[0-9]{2}-[0-9]{2}-[0-9]{2}T"


def fields() -> Iterator[tuple[Message, Field]]:
    for message in API.messages.values():
        if message.name != "HttpPolicy":
            yield from ((message, field) for field in message.fields)


def number(text: str, unit: str = "") -> int:
    return int(text.replace(",", "")) * (1024 if unit == "KiB" else 1)


@pytest.mark.parametrize(
    ("name", "value"),
    [("string.email", True), ("string.len", 5), ("int32.gt", 1), ("ignore", validate_pb2.IGNORE_ALWAYS)],
)
def test_a_rule_without_effect_is_refused(name: str, value: int | bool) -> None:
    options = FieldOptions()
    *kinds, last = name.split(".")
    rules = options.Extensions[validate_pb2.field]
    for kind in kinds:
        rules = getattr(rules, kind)
    setattr(rules, last, value)
    with pytest.raises(UnknownRule):
        read_bounds(options)


def test_a_rule_between_fields_without_effect_is_refused() -> None:
    options = MessageOptions()
    options.Extensions[validate_pb2.message].cel.add(id="x", message="x", expression="this.tier != this.year")
    with pytest.raises(UnknownRule):
        read_message_rules(options)
    options = MessageOptions()
    options.Extensions[validate_pb2.message].oneof.add(fields=["tier", "year"])
    with pytest.raises(UnknownRule):
        read_message_rules(options)


def test_rules_between_fields_are_read() -> None:
    rules = {message.name: message.rules for message in API.messages.values() if message.rules}
    assert rules["MintRequest"] == (Together(("tier", "year"), "tier and year must be given both, or neither"),)
    assert rules["UndoReforgeRequest"] == (ExactlyOne(("reforge_id", "token", "membership_id")),)
    for name, found in rules.items():
        message = next(one for one in API.messages.values() if one.name == name)
        for rule in found:
            assert set(rule.fields) <= {field.name for field in message.fields}


# What has one name and several meanings.
SEVERAL = {"token", "signed_payload"}


def test_a_name_has_the_same_bounds_in_every_request() -> None:
    found: dict[str, set[Bounds]] = defaultdict(set)
    for message, field in fields():
        if message.name.endswith(("Request", "Device")) or field.name in ("tier", "year"):
            form = replace(field.bounds, may_be_empty=False)
            if field.name not in SEVERAL and form != Bounds():
                found[field.name].add(form)
    assert {name: forms for name, forms in found.items() if len(forms) > 1} == {}


def test_a_comment_that_speaks_of_a_bound_has_one() -> None:
    lost = [
        f"{message.name}.{field.name}: {field.comment}"
        for message, field in fields()
        if SPEAKS.search(field.comment) and field.bounds == Bounds() and not field.repeated
    ]
    assert lost == []


def test_comments_say_the_numbers_of_the_bounds() -> None:
    for message, field in fields():
        bounds, place = field.bounds, f"{message.name}.{field.name}"
        comment = field.comment.split(", with claims")[0]
        for least, most, unit in RANGE.findall(comment):
            wanted = (number(least), number(most))
            is_bytes = unit == "bytes"
            assert ((bounds.min_bytes, bounds.max_bytes) if is_bytes else (bounds.min_len, bounds.max_len)) == wanted, (
                place
            )
        for most, unit in MOST.findall(comment):
            is_bytes = unit in ("bytes", "KiB")
            assert (bounds.max_bytes if is_bytes else bounds.max_len) == number(most, unit), place
        assert ("UUID" in comment) <= bounds.uuid, place
        assert ("RFC 3339" in comment) == (TIME in bounds.pattern), place
        if "printable ASCII" in comment and field.name != "email":
            assert bounds.pattern == "^ *[!-~][ -~]*$", place
        for form in re.findall(r"`(\[[^`]+\})`", comment):
            assert bounds.pattern == f"^{form}$", place
        if bounds.values and message.name.endswith("Response") and "As in" not in comment:
            assert all(f"`{value}`" in comment for value in bounds.values), place


def test_a_bound_is_in_words_too() -> None:
    """A limit of a request is in its comment, which is all that a reader of the stubs sees."""
    for message, field in fields():
        for limit in (field.bounds.max_len, field.bounds.max_bytes, field.bounds.lte):
            if limit is not None:
                shown = {f"{limit:,}", str(limit), f"{limit // 1024} KiB"}
                assert any(number in field.comment for number in shown), f"{message.name}.{field.name}"


def test_the_schema_keeps_the_drops_that_the_protos_allow() -> None:
    sql = SCHEMA.read_text()
    checks = {name: re.compile(form) for name, form in re.findall(r"CHECK \((tier|year) ~ '([^']+)'\)", sql)}
    request = API.messages[".vyris.mint.v1.GetDropRequest"]
    matches = {field.name: compile_pattern(field.bounds.pattern) for field in request.fields if field.bounds.pattern}
    tiers = ("a", "late-summer", "x" * 32, "x" * 33, "", "A", "a b", "a_b", "é", "-", "0")
    years = [*map(str, range(1990, 2130)), "", "20255", "02025", "2O25", "21000"]
    for name, samples in (("tier", tiers), ("year", years)):
        for sample in samples:
            assert bool(matches[name](sample)) == bool(checks[name].fullmatch(sample)), (name, sample)


def test_the_audit_log_keeps_every_reason_that_reforge_accepts() -> None:
    reason = operator_pb2.ChangeOwnerEmailRequest.DESCRIPTOR.fields_by_name["reason"]
    assert read_bounds(reason.GetOptions()).max_len == REASON_LIMIT
