"""Work on Postgres that a process does again and again beside its calls: repairs, counts, outboxes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog

from services.storage.failures import DatabaseFailed

log = structlog.get_logger(__name__)


async def repeat(
    work: Callable[[], Awaitable[bool | None]],
    *,
    interval_s: float,
    failure_event: str,
    breath_s: float = 0.0,
    pause_after_failure_s: float | None = None,
    rest: float = 0.0,
    news: asyncio.Event | None = None,
    hides_errors: bool = False,
) -> None:
    """Do `work` until cancelled; whatever it raises, the next round comes.

    The next round begins after `interval_s`, after `breath_s` where this one returned True (more is waiting), after
    `pause_after_failure_s` (by default the interval) where it failed; in any case not before `rest` times as long as
    this one took, so that work which grows with the data takes no more than its share. `news` ends a pause. A failure
    is a line `failure_event` in the log, with no more than its kind where `hides_errors`: the text may hold an address.
    """
    after_failure_s = interval_s if pause_after_failure_s is None else pause_after_failure_s
    while True:
        began_s = time.monotonic()
        if news is not None:
            news.clear()
        try:
            pause_s = breath_s if await work() else interval_s
        except DatabaseFailed as error:
            log.warning(failure_event, error=error.cause)
            pause_s = after_failure_s
        except Exception as error:
            log.error(failure_event, problem=type(error).__name__, exc_info=not hides_errors)
            pause_s = after_failure_s
        await _pause(max(pause_s, rest * (time.monotonic() - began_s)), news)


async def _pause(pause_s: float, news: asyncio.Event | None) -> None:
    if news is None:
        await asyncio.sleep(pause_s)
        return
    with suppress(TimeoutError):
        await asyncio.wait_for(news.wait(), pause_s)
