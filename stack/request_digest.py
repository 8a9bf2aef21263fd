"""Choose the lines of the gateway's access log to show live: all errors, and a share of the rest.

Printing a line costs more CPU than answering its request. The log files contain every line.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Final

# A person cannot read faster, and still sees each request that is sent by hand.
LINES_PER_SECOND: Final = 50
# Without parsing the line: in a value of JSON the quotes before the colon would be escaped.
STATUS: Final = re.compile(r'"status":(\d+)')
IS_REFUSAL: Final = 400
IS_ERROR: Final = 500


class RequestDigest:
    """Shows at most `LINES_PER_SECOND` successful requests, and counts the others in one line a second."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._began_s = now_s()
        self._shown = self._answered = self._refused = 0

    def shows(self, line: str) -> bool:
        """Whether to print a log line; True for all but requests beyond the limit."""
        found = STATUS.search(line)
        status = int(found[1]) if found else IS_ERROR
        if status >= IS_ERROR:
            return True
        if self._shown < LINES_PER_SECOND:
            self._shown += 1
            return True
        if status >= IS_REFUSAL:
            self._refused += 1
        else:
            self._answered += 1
        return False

    def summary(self) -> str:
        """A sentence with the number of hidden lines of the last second; empty before it is over, or without any."""
        if self._now_s() - self._began_s < 1:
            return ""
        answered, refused = self._answered, self._refused
        self._began_s = self._now_s()
        self._shown = self._answered = self._refused = 0
        return f"… {answered:,} more requests answered, {refused:,} refused" if answered or refused else ""
