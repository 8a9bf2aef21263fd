"""Check online (OCSP) whether Apple has revoked the certificates of a chain; cache and renew the result.

A check is renewed in the background long before it is too old, so only the first buyer waits for Apple's responder.
While the responder does not answer, the last check is valid for an hour.

OCSP does not answer about expired certificates (RFC 6960 section 4.4.4). For texts that such a certificate signed while
it was valid, the chain alone decides.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from services.mint.receipts.proven_chains import CHAINS_LIMIT, Chain, ReadChain
from vyris.errors import Retryable

RENEW_AFTER_S: Final = 600.0
TRY_AGAIN_AFTER_S: Final = 60.0
VALID_S: Final = 3_600.0
WAIT_LIMIT_S: Final = 5.0  # the responder may block the thread for longer


class ChainRevoked(Exception):
    """Apple has revoked a certificate of the chain, or does not confirm it."""


@dataclass(slots=True)
class _Checked:
    until_s: float  # by the process' clock
    renewal: asyncio.TimerHandle


# Asks Apple about one chain, in a thread. Raises ChainRevoked, Retryable.
Ask = Callable[[], None]


class RevocationChecks:
    """Checks each chain once for all callers with the same chain."""

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._thread = ThreadPoolExecutor(max_workers=2, thread_name_prefix="app-store-ocsp")
        self._checked: dict[Chain, _Checked] = {}
        self._asking: dict[Chain, asyncio.Task[None]] = {}

    def close(self) -> None:
        """End the threads and the renewals."""
        for checked in self._checked.values():
            checked.renewal.cancel()
        for asking in self._asking.values():
            asking.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def is_fresh(self, chain: ReadChain) -> bool:
        """Whether the chain needs no check now."""
        checked = self._checked.get(chain.chain)
        return (checked is not None and self._clock_s() < checked.until_s) or time.time() >= chain.valid_until_s

    async def check(self, chain: ReadChain, ask: Ask) -> None:
        """Ask about the chain, unless it is fresh. Raises ChainRevoked, Retryable."""
        if self.is_fresh(chain):
            return
        try:
            async with asyncio.timeout(WAIT_LIMIT_S):
                await asyncio.shield(self._start_asking(chain, ask))
        except TimeoutError:
            raise Retryable from None

    def _start_asking(self, chain: ReadChain, ask: Ask) -> asyncio.Task[None]:
        asking = self._asking.get(chain.chain)
        if asking is None:
            asking = self._asking[chain.chain] = asyncio.create_task(self._ask(chain, ask))
            asking.add_done_callback(lambda done: self._end(chain, done))
        return asking

    async def _ask(self, chain: ReadChain, ask: Ask) -> None:
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, ask)
        except ChainRevoked:
            self._forget(chain.chain)
            raise
        except Retryable:
            if chain.chain in self._checked:
                self._renew_later(chain, ask, TRY_AGAIN_AFTER_S, self._checked[chain.chain].until_s)
            raise
        self._renew_later(chain, ask, RENEW_AFTER_S, self._clock_s() + VALID_S)

    def _renew_later(self, chain: ReadChain, ask: Ask, after_s: float, until_s: float) -> None:
        self._forget(chain.chain)
        while len(self._checked) >= CHAINS_LIMIT:
            self._forget(next(iter(self._checked)))
        renewal = asyncio.get_running_loop().call_later(after_s, self._renew, chain, ask)
        self._checked[chain.chain] = _Checked(until_s, renewal)

    def _renew(self, chain: ReadChain, ask: Ask) -> None:
        if time.time() < chain.valid_until_s:
            self._start_asking(chain, ask)

    def _forget(self, chain: Chain) -> None:
        checked = self._checked.pop(chain, None)
        if checked is not None:
            checked.renewal.cancel()

    def _end(self, chain: ReadChain, done: asyncio.Task[None]) -> None:
        del self._asking[chain.chain]
        if not done.cancelled():
            done.exception()  # read it, or asyncio logs an error if no caller waits any more
