"""What the bouncer grants to one batch. It may be asked ahead, while Postgres is still reading the ledger."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from services.mint import metrics
from services.mint.bouncer import Bouncer


class Admission:
    """Slots for one batch; what was granted and not used goes back, at the latest when the batch is left."""

    def __init__(self, bouncer: Bouncer, count_key: str) -> None:
        self._bouncer = bouncer
        self._count_key = count_key
        self._asked_ahead: asyncio.Task[int | None] | None = None
        self._unused = 0

    async def __aenter__(self) -> Self:
        """Ask nothing yet."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give back whatever is left."""
        if self._asked_ahead is not None:
            await self._granted_ahead(self._asked_ahead)
        await self.give_back()

    def ask_ahead(self, wanted: int) -> None:
        """Ask for a whole batch before it is known how many of it need a slot."""
        self._asked_ahead = asyncio.create_task(self._bouncer.take(self._count_key, wanted))

    async def granted(self, wanted: int) -> int | None:
        """How many of `wanted` may go on, or None where the bouncer does not know. To be asked once."""
        with metrics.STEP_SECONDS("admit").time():
            if self._asked_ahead is not None:
                granted = await self._granted_ahead(self._asked_ahead)
            else:
                granted = await self._bouncer.take(self._count_key, wanted)
                self._unused = granted or 0
        return None if granted is None else min(granted, wanted)

    def use(self, slots: int) -> None:
        """Note that so many of those granted were claimed."""
        self._unused = max(0, self._unused - slots)

    async def give_back(self) -> None:
        """Return what is left. Where that fails the recount puts it right."""
        unused, self._unused = self._unused, 0
        if unused:
            with metrics.STEP_SECONDS("give_back").time():
                await self._bouncer.give_back(self._count_key, unused)

    async def _granted_ahead(self, asked: asyncio.Task[int | None]) -> int | None:
        granted = await asyncio.shield(asked)  # cancelled meanwhile, it is given back when the batch is left
        self._asked_ahead = None
        self._unused = granted or 0
        return granted
