"""Log lines for people."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stack.log_lines import LogFollower, last_lines, last_words, readable


def test_a_json_line_becomes_its_event_with_the_fields_behind() -> None:
    line = json.dumps(
        {"process": "mint", "event": "batch_done", "level": "info", "timestamp": "2026-01-02T03:04:05.678901Z", "n": 64}
    )
    assert readable("mint", line, "cyan").plain == "mint       03:04:05.678 batch_done  n=64"


@pytest.mark.parametrize(
    ("route", "shown"),
    [
        ({"route": "POST /mint"}, "POST /mint"),
        ({"route": "/vyris.mint.v1.MintService/Mint"}, "POST /vyris.mint.v1.MintService/Mint"),
        ({}, "POST (no such path)"),
    ],
)
def test_an_access_log_line_shows_method_route_and_status(route: dict[str, str], shown: str) -> None:
    line = json.dumps(
        {"time": "2026-01-02T03:04:05.678Z", "method": "POST", **route, "status": 410, "error": "SOLD_OUT",
         "duration_ms": 3, "details": "via_upstream", "flags": "-"}
    )  # fmt: skip
    expected = f"gateway    03:04:05.678 {shown} 410  error=SOLD_OUT  duration_ms=3"
    assert readable("gateway", line, "cyan").plain == expected


def test_an_exception_is_shown_with_its_place() -> None:
    raised = {"exc_type": "ValueError", "exc_value": "no", "frames": [{"filename": "/a/b.py", "lineno": 7}]}
    line = json.dumps({"event": "failed", "level": "error", "exception": [raised]})
    assert readable("mint", line, "cyan").plain.endswith("ValueError: no (b.py:7)")


def test_what_is_not_json_stays_as_it_is() -> None:
    assert readable("postgres", "LOG:  ready [1] {", "cyan").plain == "postgres   LOG:  ready [1] {"


def test_a_follower_gives_whole_lines_from_now_on_across_a_rotation(tmp_path: Path) -> None:
    log = tmp_path / "mint.log"
    log.write_text("old\n", encoding="utf-8")
    follower = LogFollower([log, tmp_path / "later.log"])
    assert [line.plain for line in follower.new_lines()] == []
    with log.open("a", encoding="utf-8") as writing:
        writing.write("one\nhal")
        writing.flush()
        assert [line.plain.split()[-1] for line in follower.new_lines()] == ["one"]
        writing.write("f\n")
    log.rename(tmp_path / "mint.log.1")
    log.write_text("two\n", encoding="utf-8")
    (tmp_path / "later.log").write_text("three\n", encoding="utf-8")
    seen = [line.plain.split()[-1] for _ in range(2) for line in follower.new_lines()]
    assert sorted(seen) == ["half", "three", "two"]


def test_the_last_lines_of_a_missing_log_are_none(tmp_path: Path) -> None:
    assert last_lines(tmp_path / "none.log", 5) == []


def test_the_last_words_are_the_fatal_ones_where_more_was_said_after_them() -> None:
    assert last_words("LOG:  starting\nFATAL:  no space left\nLOG:  database system is shut down\n") == (
        "FATAL:  no space left"
    )
    assert last_words("a\nb\n\n") == "b"
    assert last_words("\n") == ""


def test_an_earlier_start_s_fatal_words_are_not_the_last_ones() -> None:
    assert last_words("FATAL:  long ago\n" + "LOG:  fine\n" * 10 + "LOG:  end") == "LOG:  end"
