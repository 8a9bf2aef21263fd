"""Which lines of the gateway's access log a person sees while they are written: all errors, and a share of the rest.

Printing a line costs more processor time than answering its request. The log files keep every line.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Final

# Nobody reads faster, and a person who tries requests by hand sees each of them.
LINES_PER_SECOND: Final = 50
# Without parsing the line: in a value of JSON the quotes before the colon would be escaped.
STATUS: Final = re.compile(r'"status":(\d+)')
IS_REFUSAL: Final = 400
IS_ERROR: Final = 500


class RequestDigest:
    """Shows at most `LINES_PER_SECOND` requests that did not fail, and counts the others for one line a second."""

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
        """What was not shown of the last second, in a sentence; empty before it has passed, and where all was shown."""
        if self._now_s() - self._began_s < 1:
            return ""
        answered, refused = self._answered, self._refused
        self._began_s = self._now_s()
        self._shown = self._answered = self._refused = 0
        return f"… {answered:,} more requests answered, {refused:,} refused" if answered or refused else ""
