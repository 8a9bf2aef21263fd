"""One batch in flight; the next is whatever arrived meanwhile.

A lone request does not wait, and under load batches grow by themselves. A batch that is done sooner than the next one
can grow leaves it a few milliseconds to gather.
Batchers of one process may share turns: then their batches grow while others run.
Requests that share a key are one group, so that a batch holds a key once and a thousand copies of one request cost one
row.

    submit(key, request) ──▶ waiting groups ──▶ process(batch) ──▶ answers
                                  ▲                  │
                                  └── groups that must wait for others ──┘

Everything is bounded: waiting requests (then `Retryable.shed`), groups a batch, each
request's time (then `Retryable`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable, Iterator
from contextvars import Context
from typing import Final, Generic, Protocol, TypeVar

import structlog
from opentelemetry.trace import SpanContext

from services import tracing
from vyris.errors import Retryable, VyrisError

K = TypeVar("K", bound=Hashable)
R = TypeVar("R")
A = TypeVar("A")

# Work that has begun is pursued this long at most when nobody waits for it any more. What is then unfinished is for
# whoever owns it to repair: mint has its reaper.
PURSUIT_S: Final = 10.0
# A batch of which every group must wait for others is tried again after this long, doubling.
FIRST_PAUSE_S: Final = 0.002
LONGEST_PAUSE_S: Final = 0.1
# A batch begins no sooner after the one before than so long for each group beyond the first that that one held.
# Its answers go out in one burst: beyond two thousand replays a second, gRPC and the gateway need a third less
# processor time for each (`python -m tests.bench --quick replay`). Under load a batch of mints takes longer anyway.
GATHERING_S: Final = 0.0008
LONGEST_GATHERING_S: Final = 0.004
# A request that would wait longer than this is refused at once. How long that is, the last batches tell.
WAIT_LIMIT_S: Final = 0.7
LAST_BATCH_WEIGHT: Final = 0.3

log = structlog.get_logger(__name__)


class Group(Generic[K, R, A]):
    """All who wait for one key. The first to ask speaks for the group."""

    __slots__ = ("_begun_at_s", "_waiters", "calls", "key")

    def __init__(self, key: K) -> None:
        self.key = key
        self._begun_at_s: float | None = None
        self._waiters: list[tuple[R, asyncio.Future[A | VyrisError]]] = []
        # What the batch's trace links; empty while there are no traces.
        self.calls: list[SpanContext] = []

    def begin(self) -> None:
        """Note that the work leaves a trace from here on: it is finished even if nobody waits any more."""
        if self._begun_at_s is None:
            self._begun_at_s = time.monotonic()

    @property
    def first(self) -> R:
        """The request that speaks for the group."""
        return self._waiters[0][0]

    def add(self, request: R, answer: asyncio.Future[A | VyrisError]) -> None:
        """Let one more wait."""
        self._waiters.append((request, answer))

    def merge(self, later: Group[K, R, A]) -> None:
        """Take over those who came while this group was at work."""
        self._waiters.extend(later._waiters)
        self.calls.extend(later.calls)

    def wanted(self) -> bool:
        """Whether it must still be worked on. Those who gave up no longer speak for it."""
        still_waiting = [waiter for waiter in self._waiters if not waiter[1].done()]
        if still_waiting:
            self._waiters = still_waiting
        return bool(still_waiting) or (self._begun_at_s is not None and time.monotonic() - self._begun_at_s < PURSUIT_S)

    def settle(self, answer_for: Callable[[R, bool], A | VyrisError]) -> None:
        """Answer everybody: `answer_for(request, is_first)`, where the first is whoever still waits and came first."""
        is_first = True
        for request, future in self._waiters:
            if not future.done():
                _answer_later(future, answer_for(request, is_first))
                is_first = False

    def settle_all(self, answer: A | VyrisError) -> None:
        """Give everybody the same answer."""
        for _, future in self._waiters:
            if not future.done():
                _answer_later(future, answer)


def _answer_later(future: asyncio.Future[A | VyrisError], answer: A | VyrisError) -> None:
    """Answer at the loop's next pass: by then the next batch's first statement is on its way to Postgres.

    To answer a batch keeps the loop busy for as long as such a statement takes.
    """
    future.get_loop().call_soon(_answer, future, answer)


def _answer(future: asyncio.Future[A | VyrisError], answer: A | VyrisError) -> None:
    if not future.done():
        future.set_result(answer)


class Process(Protocol[K, R, A]):
    """Works on a batch."""

    async def __call__(self, batch: list[Group[K, R, A]]) -> list[Group[K, R, A]]:
        """Settle what can be settled; return the groups that must go into the next batch."""


class Batcher(Generic[K, R, A]):
    """A queue of groups and the one task that empties it."""

    def __init__(
        self,
        process: Process[K, R, A],
        *,
        name: str,
        waiting_limit: int,
        batch_limit: int,
        turns: asyncio.Semaphore | None = None,
        longest_gathering_s: float | None = None,
    ) -> None:
        """`waiting_limit` bounds requests, waiting or in flight; `batch_limit` groups.

        `longest_gathering_s` is what a batch under load leaves the next one to grow. `turns` bounds the batches that
        run at once among all batchers that share it.
        """
        self._process = process
        self._name = name
        self._waiting_limit = waiting_limit
        self._batch_limit = batch_limit
        self._turns = turns or asyncio.Semaphore(1)
        self._longest_gathering_s = LONGEST_GATHERING_S if longest_gathering_s is None else longest_gathering_s
        self._waiting: dict[K, Group[K, R, A]] = {}
        self._requests = 0
        self._arrival = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None
        self._pause_s = 0.0
        self._batch_s = 0.0  # how long a batch takes, its turn included, by the last ones

    async def submit(self, key: K, request: R, deadline_s: float) -> A:
        """The answer for `request`, within `deadline_s` seconds; raises what the batch decided, or Retryable."""
        answer = await self.ask(key, request, deadline_s)
        if isinstance(answer, VyrisError):
            raise answer
        return answer

    async def ask(self, key: K, request: R, deadline_s: float) -> A | VyrisError:
        """As `submit`, but a refusal is returned: a storm of refusals costs no exceptions."""
        if self._requests >= self._waiting_limit or self._wait_s() > WAIT_LIMIT_S:
            return Retryable.shed()
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[A | VyrisError] = loop.create_future()
        group = self._waiting.get(key)
        if group is None:
            group = self._waiting[key] = Group(key)
        group.add(request, answer)
        if (span := tracing.current()) is not None:
            group.calls.append(span)
        self._arrival.set()
        if self._worker is None:
            # In a context of its own: it works for all, and is part of nobody's trace.
            self._worker = loop.create_task(self._work(), name=f"batcher {self._name}", context=Context())
        self._requests += 1
        expiry = loop.call_later(deadline_s, _expire, answer)
        try:
            return await answer
        finally:
            expiry.cancel()
            self._requests -= 1

    def _wait_s(self) -> float:
        """How long a request that came now would wait. Nobody waits for whole batches where none are ahead."""
        return self._batch_s * (len(self._waiting) // self._batch_limit)

    async def close(self) -> None:
        """Stop the worker; whoever still waits gets Retryable."""
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)
            self._worker = None
        for group in self._waiting.values():
            group.settle_all(Retryable())
        self._waiting.clear()

    async def _work(self) -> None:
        while True:
            await self._arrival.wait()
            waited_from_s = time.monotonic()
            async with self._turns:
                began_s = time.monotonic()
                batch = list(self._next_batch())
                groups = len(batch)
                if not self._waiting:
                    self._arrival.clear()
                if batch:
                    await self._run(batch)
            if groups:
                if self._pause_s:
                    await asyncio.sleep(self._pause_s)  # without a turn, which another batcher may need
                await self._gather(began_s + min(GATHERING_S * (groups - 1), self._longest_gathering_s))
                self._batch_s += LAST_BATCH_WEIGHT * (time.monotonic() - waited_from_s - self._batch_s)

    async def _gather(self, until_s: float) -> None:
        """Wait until then, unless as many wait as one batch can hold."""
        left_s = until_s - time.monotonic()
        if left_s > 0 and len(self._waiting) < self._batch_limit:
            await asyncio.sleep(left_s)

    def _next_batch(self) -> Iterator[Group[K, R, A]]:
        taken = 0
        while self._waiting and taken < self._batch_limit:
            group = self._waiting.pop(next(iter(self._waiting)))
            if group.wanted():
                taken += 1
                yield group

    async def _run(self, batch: list[Group[K, R, A]]) -> None:
        try:
            with tracing.batch_span("batch", [call for group in batch for call in group.calls]):
                again = await self._process(batch)
        except asyncio.CancelledError:
            for group in batch:
                group.settle_all(Retryable())
            raise
        except Exception:
            log.exception("batch_failed", batcher=self._name, groups=len(batch))
            self._pause_s = 0.0
            for group in batch:
                group.settle_all(Retryable())
            return
        self._put_back(again)
        if again and len(again) == len(batch):
            self._pause_s = min(max(self._pause_s * 2, FIRST_PAUSE_S), LONGEST_PAUSE_S)
        else:
            self._pause_s = 0.0

    def _put_back(self, again: list[Group[K, R, A]]) -> None:
        """Ahead of those who came later, and joined by those of the same key."""
        if not again:
            return
        waiting: dict[K, Group[K, R, A]] = {}
        for group in again:
            later = self._waiting.pop(group.key, None)
            if later is not None:
                group.merge(later)
            waiting[group.key] = group
        waiting.update(self._waiting)
        self._waiting = waiting
        self._arrival.set()


def _expire(answer: asyncio.Future[A | VyrisError]) -> None:
    if not answer.done():
        answer.set_result(Retryable())
