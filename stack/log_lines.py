"""Make the processes' log lines readable: JSON becomes a sentence, followed by its fields."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from rich.text import Text

from stack.printable import printable
from stack.request_digest import RequestDigest

NAME_WIDTH = 10
COLOURS = ("cyan", "green", "magenta", "blue", "yellow", "bright_cyan", "bright_green", "bright_magenta", "bright_blue")
LEVEL_STYLES = {"warning": "yellow", "error": "bold red", "critical": "bold red"}
TIME_KEYS = ("timestamp", "time")
# Fields that are part of the sentence, or the same in every line.
SENTENCE_KEYS = {"timestamp", "time", "level", "event", "process", "method", "route", "status", "exception"}
# Fields of the gateway's access log that describe the request.
ACCESS_KEYS = ("error", "duration_ms", "details", "request_id")
LINE_LIMIT = 64 * 1024
# Postgres says what ended it, and then a line or two more.
LAST_WORDS_LINES = 5
FATAL_WORDS = ("FATAL:", "PANIC:")


def readable(process: str, line: str, colour: str) -> Text:
    """Format one log line for people."""
    prefix = Text(f"{process:<{NAME_WIDTH}} ", style=colour)
    try:
        fields = json.loads(line)
    except ValueError:
        fields = None
    return prefix + (_sentence(fields) if isinstance(fields, dict) else Text(printable(line, keeps_lines=True)))


def _sentence(fields: dict[str, Any]) -> Text:
    time = next((str(fields[key]) for key in TIME_KEYS if key in fields), "")
    level = str(fields.get("level", "info"))
    text = Text(f"{printable(_clock(time))} ", style="dim")
    if "event" in fields:
        text.append(printable(str(fields["event"])), style=LEVEL_STYLES.get(level, ""))
        details = {key: value for key, value in fields.items() if key not in SENTENCE_KEYS}
    else:
        text.append(printable(f"{_format_request(fields)} {fields.get('status', '')}".strip()))
        details = {key: fields[key] for key in ACCESS_KEYS if fields.get(key) not in {None, "-", "", "via_upstream"}}
    for key, value in details.items():
        text.append(f"  {printable(key)}=", style="dim")
        text.append(printable(str(value)))
    for raised in _exceptions(fields.get("exception")):
        text.append(f"\n{'':{NAME_WIDTH}}   {printable(raised)}", style="red")
    return text


def _format_request(access: dict[str, Any]) -> str:
    """The request of an access log line. A JSON route begins with its method, a native one does not."""
    method, route = str(access.get("method", "")), str(access.get("route", "(no such path)"))
    return route if route.startswith(f"{method} ") else f"{method} {route}"


def _clock(time: str) -> str:
    """The time of day of an RFC 3339 time, to the millisecond."""
    _, _, clock = time.partition("T")
    return clock.rstrip("Z")[:12]


def _exceptions(logged: object) -> Iterator[str]:
    """`ValueError: text (file.py:12)` for each exception of structlog's structured tracebacks."""
    if isinstance(logged, str):
        yield from logged.splitlines()
        return
    for raised in logged if isinstance(logged, list) else []:
        frames = raised.get("frames") or [{}]
        place = f"{Path(str(frames[-1].get('filename', ''))).name}:{frames[-1].get('lineno', '')}"
        yield f"{raised.get('exc_type')}: {raised.get('exc_value')} ({place})"


class LogFollower:
    """Reads new lines of log files, across their rotation."""

    def __init__(self, files: Iterable[Path], digest: RequestDigest | None = None) -> None:
        """Begin at the current end of each file; read a file that appears later from its beginning.

        With a `digest`, many requests become one line a second; without one, all lines are returned.
        """
        self._digest = digest
        self._tails = {path.stem: _Tail(path) for path in files}
        self._colours = {name: COLOURS[number % len(COLOURS)] for number, name in enumerate(self._tails)}

    def new_lines(self) -> Iterator[Text]:
        """The lines since the last call, in readable form."""
        for name, tail in self._tails.items():
            for line in tail.new_lines():
                if self._digest is None or self._digest.shows(line):
                    yield readable(name, line, self._colours[name])
        if self._digest is not None and (summary := self._digest.summary()):
            yield Text(f"{'gateway':<{NAME_WIDTH}} {summary}", style="dim")


class _Tail:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: TextIOWrapper | None = None
        self._rest = ""
        if path.exists():
            self._file = self._open()
            self._file.seek(0, 2)

    def new_lines(self) -> Iterator[str]:
        if self._file is None:
            if not self._path.exists():
                return
            self._file = self._open()
        yield from self._complete_lines(self._file)
        if self._is_rotated(self._file):
            yield from self._complete_lines(self._file)
            self._file.close()
            self._file = None

    def _open(self) -> TextIOWrapper:
        return self._path.open(encoding="utf-8", errors="replace")

    def _complete_lines(self, file: TextIOWrapper) -> Iterator[str]:
        *complete, self._rest = (self._rest + file.read()).split("\n")
        self._rest = self._rest[-LINE_LIMIT:]
        yield from complete

    def _is_rotated(self, file: TextIOWrapper) -> bool:
        try:
            return os.fstat(file.fileno()).st_ino != self._path.stat().st_ino
        except FileNotFoundError:
            return True


def last_lines(path: Path, count: int) -> list[str]:
    """The last lines of a log file."""
    if not path.exists():
        return []
    return path.read_text(encoding="utf-8", errors="replace").splitlines()[-count:] if count else []


def last_words(text: str) -> str:
    """The line of a log with the reason why its process ended: a fatal one near the end, or else the last."""
    lines = [line.strip() for line in text.splitlines() if line.strip()][-LAST_WORDS_LINES:]
    fatal = [line for line in lines if any(word in line for word in FATAL_WORDS)]
    return (fatal or lines or [""])[-1]
