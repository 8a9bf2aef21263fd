"""One batch is in flight; the next one contains all requests that arrive meanwhile.

A lone request does not wait, and under load batches grow by themselves. After a fast batch, the batcher waits a few
milliseconds, so that the next batch can grow.
Batchers of one process may share turns: then their batches grow while others run.
Requests with the same key form one group. A batch contains a key once, so a thousand copies of one request cost one
row.

    submit(key, request) ──▶ waiting groups ──▶ process(batch) ──▶ answers
                                  ▲                  │
                                  └── groups that must wait for others ──┘

There are limits on waiting requests (then `Retryable.shed`), on the groups of a batch, and on each request's time (then
`Retryable`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable, Iterator
from contextvars import Context
from typing import Final, Generic, Protocol, TypeVar

import structlog
from opentelemetry.trace import SpanContext

from services.server import tracing
from vyris.errors import Retryable, VyrisError

K = TypeVar("K", bound=Hashable)
R = TypeVar("R")
A = TypeVar("A")

# Work that has begun goes on for so long after its last caller has left. The owner of the work repairs what is
# unfinished then: mint has its reaper.
PURSUIT_S: Final = 10.0
# If every group of a batch must wait for others, the batch is retried after this pause, which doubles.
FIRST_PAUSE_S: Final = 0.002
LONGEST_PAUSE_S: Final = 0.1
# The least time from the start of one batch to the next, for each group of the first one beyond its first group. The
# answers of a batch leave in one burst: above two thousand replays a second, this saves gRPC and the gateway a third of
# the CPU for each (`python -m tests.bench --quick replay`). Under load a batch of mints takes longer anyway.
GATHERING_S: Final = 0.0008
LONGEST_GATHERING_S: Final = 0.004
# A request that would wait longer than this is refused at once. The last batches give the estimate.
WAIT_LIMIT_S: Final = 0.7
LAST_BATCH_WEIGHT: Final = 0.3

log = structlog.get_logger(__name__)


class Group(Generic[K, R, A]):
    """All requests with one key. The first one represents the group."""

    __slots__ = ("_begun_at_s", "_waiters", "calls", "key")

    def __init__(self, key: K) -> None:
        self.key = key
        self._begun_at_s: float | None = None
        self._waiters: list[tuple[R, asyncio.Future[A | VyrisError]]] = []
        # Spans for the batch's trace to link; empty without traces.
        self.calls: list[SpanContext] = []

    def begin(self) -> None:
        """Mark that the work has effects from now on, so it must be finished even if no caller waits."""
        if self._begun_at_s is None:
            self._begun_at_s = time.monotonic()

    @property
    def first(self) -> R:
        """The request that represents the group."""
        return self._waiters[0][0]

    def add(self, request: R, answer: asyncio.Future[A | VyrisError]) -> None:
        """Add one more request."""
        self._waiters.append((request, answer))

    def merge(self, later: Group[K, R, A]) -> None:
        """Take over the requests that arrived while this group was in flight."""
        self._waiters.extend(later._waiters)
        self.calls.extend(later.calls)

    def wanted(self) -> bool:
        """Whether the work must still be done. Drops requests that gave up."""
        still_waiting = [waiter for waiter in self._waiters if not waiter[1].done()]
        if still_waiting:
            self._waiters = still_waiting
        return bool(still_waiting) or (self._begun_at_s is not None and time.monotonic() - self._begun_at_s < PURSUIT_S)

    def settle(self, answer_for: Callable[[R, bool], A | VyrisError]) -> None:
        """Answer all requests with `answer_for(request, is_first)`; the first is the oldest one that still waits."""
        is_first = True
        for request, future in self._waiters:
            if not future.done():
                _answer_later(future, answer_for(request, is_first))
                is_first = False

    def settle_all(self, answer: A | VyrisError) -> None:
        """Answer all requests with the same answer."""
        for _, future in self._waiters:
            if not future.done():
                _answer_later(future, answer)


def _answer_later(future: asyncio.Future[A | VyrisError], answer: A | VyrisError) -> None:
    """Answer at the loop's next pass, after the next batch's first statement is sent to Postgres.

    Answering a batch keeps the loop busy for as long as such a statement takes.
    """
    future.get_loop().call_soon(_answer, future, answer)


def _answer(future: asyncio.Future[A | VyrisError], answer: A | VyrisError) -> None:
    if not future.done():
        future.set_result(answer)


class Process(Protocol[K, R, A]):
    """Works on a batch."""

    async def __call__(self, batch: list[Group[K, R, A]]) -> list[Group[K, R, A]]:
        """Settle the groups that can be settled; return those that must go into the next batch."""


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
    ) -> None:
        """`waiting_limit`: the most requests, waiting or in flight. `batch_limit`: the most groups of a batch.

        `turns`: limits the batches in flight among all batchers that share it.
        """
        self._process = process
        self._name = name
        self._waiting_limit = waiting_limit
        self._batch_limit = batch_limit
        self._turns = turns or asyncio.Semaphore(1)
        self._waiting: dict[K, Group[K, R, A]] = {}
        self._requests = 0
        self._arrival = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None
        self._pause_s = 0.0
        self._batch_s = 0.0  # time of a batch, its turn included: a moving average

    async def submit(self, key: K, request: R, deadline_s: float) -> A:
        """Put `request` into the next batch and return its answer.

        Raises the error that the batch decided, or Retryable: at once if too many wait, or after `deadline_s` seconds.
        """
        answer = await self.ask(key, request, deadline_s)
        if isinstance(answer, VyrisError):
            raise answer
        return answer

    async def ask(self, key: K, request: R, deadline_s: float) -> A | VyrisError:
        """As `submit`, but return a refusal instead of raising it: a storm of refusals costs no exceptions."""
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
            # In a separate context: the worker serves all callers and is part of no caller's trace.
            self._worker = loop.create_task(self._work(), name=f"batcher {self._name}", context=Context())
        self._requests += 1
        expiry = loop.call_later(deadline_s, _expire, answer)
        try:
            return await answer
        finally:
            expiry.cancel()
            self._requests -= 1

    def _wait_s(self) -> float:
        """Estimate how long a new request would wait: the time of the whole batches ahead of it."""
        return self._batch_s * (len(self._waiting) // self._batch_limit)

    async def close(self) -> None:
        """Stop the worker; all waiting requests get Retryable."""
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
                    await asyncio.sleep(self._pause_s)  # after giving back the turn, for another batcher
                await self._gather(began_s + min(GATHERING_S * (groups - 1), LONGEST_GATHERING_S))
                self._batch_s += LAST_BATCH_WEIGHT * (time.monotonic() - waited_from_s - self._batch_s)

    async def _gather(self, until_s: float) -> None:
        """Wait until `until_s`, unless a full batch is waiting already."""
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
        """Put groups back ahead of later ones, and merge later requests with the same key into them."""
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
