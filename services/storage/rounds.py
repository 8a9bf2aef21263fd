"""Work on Postgres that a process does again and again beside its calls: repairs, counts, outboxes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import structlog

from services.storage.failures import DatabaseUnavailable

log = structlog.get_logger(__name__)


async def repeat(
    work: Callable[[], Awaitable[bool | None]],
    *,
    interval_s: float,
    failure_event: str,
    breath_s: float = 0.0,
    pause_after_failure_s: float | None = None,
    rest: float = 0.0,
) -> None:
    """Do `work` until cancelled; whatever it raises, the next round comes.

    The next round begins after `interval_s`, after `breath_s` where this one returned True (more is waiting), after
    `pause_after_failure_s` (by default the interval) where it failed; in any case not before `rest` times as long as
    this one took, so that work which grows with the data takes no more than its share. A failure is a line
    `failure_event` in the log.
    """
    after_failure_s = interval_s if pause_after_failure_s is None else pause_after_failure_s
    while True:
        began_s = time.monotonic()
        try:
            pause_s = breath_s if await work() else interval_s
        except DatabaseUnavailable as error:
            log.warning(failure_event, error=error.cause)
            pause_s = after_failure_s
        except Exception:
            log.exception(failure_event)
            pause_s = after_failure_s
        await asyncio.sleep(max(pause_s, rest * (time.monotonic() - began_s)))
