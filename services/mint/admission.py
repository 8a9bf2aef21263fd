"""What the bouncer grants to one batch. It may be asked while Postgres is at work already."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from services import failpoints
from services.mint import metrics
from services.mint.bouncer import Bouncer


class Admission:
    """Slots for one batch; what was granted and not used goes back, at the latest when the batch is left."""

    def __init__(self, bouncer: Bouncer, count_key: str) -> None:
        self._bouncer = bouncer
        self._count_key = count_key
        self._asked_beside: asyncio.Task[None] | None = None
        self._granted = 0
        self.used = 0
        # What the bouncer said: that it does not know; that there is enough, as far as anybody knows. Neither before it
        # was asked.
        self.unknown = False
        self.enough = False

    async def __aenter__(self) -> Self:
        """Ask nothing yet."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give back whatever is left."""
        try:
            if self._asked_beside is not None:
                await self._answered(self._asked_beside)
        finally:
            await self.give_back()

    def ask_beside(self, wanted: int) -> None:
        """Ask for a whole batch, and go on meanwhile."""
        self._asked_beside = asyncio.create_task(self._take(wanted))

    async def granted(self, wanted: int) -> int | None:
        """How many of `wanted` may go on, or None where the bouncer does not know. To be asked once."""
        with metrics.STEP_SECONDS("admit").time():
            if self._asked_beside is not None:
                await self._answered(self._asked_beside)
            else:
                await self._take(wanted)
        return None if self.unknown else max(0, min(self._granted - self.used, wanted))

    def use(self, slots: int) -> None:
        """Note that so many were claimed, granted or not: Postgres decides."""
        self.used += slots

    async def give_back(self) -> None:
        """Return what is left. Where that fails the recount puts it right."""
        unused = self._granted - self.used
        if unused > 0:
            await failpoints.reach("mint.giving_back")
            self._granted -= unused
            with metrics.STEP_SECONDS("give_back").time():
                await self._bouncer.give_back(self._count_key, unused)

    async def _take(self, wanted: int) -> None:
        granted = await self._bouncer.take(self._count_key, wanted)
        self._granted = granted or 0
        self.unknown = granted is None
        self.enough = granted is None or granted >= wanted
        await failpoints.reach("mint.granted")

    async def _answered(self, asked: asyncio.Task[None]) -> None:
        await asyncio.shield(asked)  # where this is cancelled meanwhile, it is waited for when the batch is left
        self._asked_beside = None
