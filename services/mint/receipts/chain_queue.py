"""A queue of unknown certificate chains, which are proven one at a time in a thread.

A flood of forged chains must not keep a genuine new one out. Texts with the same chain share one proof, and the chain
with the most requests goes first. So buyers with the same new chain, and each retry, move it forward. A forger who
invents a new chain for each text moves none of them.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple, TypeVar

from services.mint.receipts.proven_chains import Chain
from vyris.errors import Retryable

V = TypeVar("V")

WAITING_LIMIT: Final = 512
ASKED_LIMIT: Final = 8_192
DISPROVEN_LIMIT: Final = 8_192
WAIT_LIMIT_S: Final = 5.0


class ChainDisproven(Exception):
    """The chain does not lead to one of our roots."""


class _Waiting(NamedTuple):
    name: bytes
    prove: Callable[[], bool]
    remember: Callable[[], None]
    outcome: asyncio.Future[bool]


class ChainQueue:
    """Proves chains, one after the other."""

    def __init__(self, thread_name: str) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=thread_name)
        self._waiting: dict[bytes, _Waiting] = {}
        # How often each chain was requested lately, and disproven chains; by digest, without the oldest ones.
        self._asked: dict[bytes, int] = {}
        self._disproven: dict[bytes, None] = {}
        self._worker: asyncio.Task[None] | None = None

    def close(self) -> None:
        """End the thread. Waiting work is dropped."""
        if self._worker is not None:
            self._worker.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def prove(self, chain: Chain, prove: Callable[[], bool], remember: Callable[[], None]) -> None:
        """Return once the chain is proven.

        `prove` runs in the thread and returns whether the chain is genuine. It must not depend on the text with the
        chain, because others share its result. `remember` runs right after it, so that the chain is proven only once.
        Raises ChainDisproven, Retryable (too many wait, or it takes too long).
        """
        name = _digest(chain)
        if name in self._disproven:
            raise ChainDisproven
        asked = self._asked.pop(name, 0) + 1
        _enter(self._asked, name, asked, ASKED_LIMIT)
        waiting = self._waiting.get(name)
        if waiting is None:
            if len(self._waiting) >= WAITING_LIMIT:
                self._displace(asked)
            waiting = _Waiting(name, prove, remember, asyncio.get_running_loop().create_future())
            self._waiting[name] = waiting
            if self._worker is None:
                self._worker = asyncio.create_task(self._work())
        try:
            async with asyncio.timeout(WAIT_LIMIT_S):
                is_genuine = await asyncio.shield(waiting.outcome)
        except TimeoutError:
            raise Retryable from None
        if not is_genuine:
            raise ChainDisproven

    def _displace(self, asked: int) -> None:
        """Make room for a chain with more requests than another. Raises Retryable if there is no such other."""
        if asked == 1:
            raise Retryable.shed()
        rarest = min(reversed(self._waiting.values()), key=lambda waiting: self._asked.get(waiting.name, 0))
        if self._asked.get(rarest.name, 0) >= asked:
            raise Retryable.shed()
        del self._waiting[rarest.name]
        _fail(rarest, Retryable.shed())

    async def _work(self) -> None:
        try:
            while self._waiting:
                # The chain with the most requests; of equal ones the first that arrived.
                name = max(self._waiting, key=lambda name: self._asked.get(name, 0))
                waiting = self._waiting[name]
                try:
                    is_genuine = await asyncio.get_running_loop().run_in_executor(self._thread, waiting.prove)
                except Exception as error:
                    self._waiting.pop(name, None)
                    _fail(waiting, error)
                    continue
                self._waiting.pop(name, None)
                self._asked.pop(name, None)
                if is_genuine:
                    waiting.remember()
                else:
                    _enter(self._disproven, name, None, DISPROVEN_LIMIT)
                if not waiting.outcome.done():
                    waiting.outcome.set_result(is_genuine)
        finally:
            self._worker = None


def _fail(waiting: _Waiting, error: Exception) -> None:
    if not waiting.outcome.done():
        waiting.outcome.set_exception(error)
        waiting.outcome.exception()  # read it, or asyncio logs an error if no caller waits any more


def _digest(chain: Chain) -> bytes:
    return hashlib.sha256("\n".join(chain).encode()).digest()


def _enter(entries: dict[bytes, V], name: bytes, value: V, limit: int) -> None:
    while len(entries) >= limit:
        del entries[next(iter(entries))]
    entries[name] = value
