"""The terminal shows every error, and only as many other requests as a person can read."""

from __future__ import annotations

import json
from pathlib import Path

from stack.log_lines import LogFollower
from stack.request_digest import LINES_PER_SECOND, RequestDigest


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def request(status: int, **more: object) -> str:
    return json.dumps({"method": "POST", "route": "POST /mint", **more, "status": status}, separators=(",", ":"))


def test_a_few_requests_are_all_shown() -> None:
    clock = Clock()
    digest = RequestDigest(clock)
    for second in range(3):
        assert all(digest.shows(request(200)) for _ in range(LINES_PER_SECOND))
        clock.now_s = second + 1.0
        assert digest.summary() == ""


def test_many_requests_become_one_line_a_second() -> None:
    clock = Clock()
    digest = RequestDigest(clock)
    lines = [*[request(201)] * (LINES_PER_SECOND + 1_234), *[request(410)] * 12]
    assert sum(map(digest.shows, lines)) == LINES_PER_SECOND
    clock.now_s = 0.9
    assert digest.summary() == ""
    clock.now_s = 1.0
    assert digest.summary() == "… 1,234 more requests answered, 12 refused"
    assert digest.shows(request(200))
    clock.now_s = 2.0
    assert digest.summary() == ""


def test_errors_and_what_is_no_request_are_always_shown() -> None:
    digest = RequestDigest(Clock())
    assert not all(digest.shows(request(200)) for _ in range(LINES_PER_SECOND + 1))
    quiet = [request(500), request(503), json.dumps({"event": "batch_failed"}), "FATAL:  no space left"]
    assert all(digest.shows(line) for line in quiet * 100)


def test_text_of_a_caller_is_not_read_as_a_status() -> None:
    digest = RequestDigest(Clock())
    for _ in range(LINES_PER_SECOND):
        digest.shows(request(200))
    assert digest.shows(request(500, error='"status":200'))
    assert not digest.shows(request(200, error='"status":500'))


def test_a_follower_with_a_digest_ends_its_second_with_the_count(tmp_path: Path) -> None:
    clock = Clock()
    log = tmp_path / "gateway.log"
    log.touch()
    every, some = LogFollower([log]), LogFollower([log], RequestDigest(clock))
    log.write_text("".join(f"{request(200)}\n" for _ in range(LINES_PER_SECOND + 2)), encoding="utf-8")
    assert len(list(every.new_lines())) == LINES_PER_SECOND + 2
    clock.now_s = 1.0
    seen = [line.plain for line in some.new_lines()]
    assert len(seen) == LINES_PER_SECOND + 1
    assert seen[-1] == "gateway    … 2 more requests answered, 0 refused"
