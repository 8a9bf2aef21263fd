"""Write the errors that phones report into our log: few lines, short, without secrets."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from typing import Final

import structlog

log = structlog.get_logger(__name__)

LINES_PER_CALL: Final = 20
LINE_LIMIT: Final = 500
LINES_PER_SECOND: Final = 10.0
BURST: Final = 100.0
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
# Apple Wallet quotes requests with their tokens; serials and tokens are long runs of these characters.
_SECRET: Final = re.compile(r"[A-Za-z0-9+/=_-]{24,}")


def clean_line(line: str) -> str:
    """Make one printable line, without any text that could be a token."""
    return _SECRET.sub("[removed]", _UNPRINTABLE.sub(" ", line[: 4 * LINE_LIMIT]))[:LINE_LIMIT]


class DeviceLogs:
    """Logs at most `LINES_PER_SECOND`, for all devices together, and counts the rest."""

    def __init__(self) -> None:
        self._tokens = BURST
        self._seen_s = time.monotonic()
        self._dropped = 0

    def record(self, lines: Sequence[str]) -> int:
        """Log as many lines as the limits allow. Return their number."""
        written = 0
        for line in lines[:LINES_PER_CALL]:
            if not self._take_token():
                break
            log.info("pass_device_log", line=clean_line(line), dropped_before=self._dropped)
            self._dropped = 0
            written += 1
        self._dropped += len(lines) - written
        return written

    def _take_token(self) -> bool:
        now_s = time.monotonic()
        self._tokens = min(BURST, self._tokens + (now_s - self._seen_s) * LINES_PER_SECOND)
        self._seen_s = now_s
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
