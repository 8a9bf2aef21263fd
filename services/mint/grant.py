"""The slots that the bouncer grants to one batch. Postgres may already work on the batch."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from services.mint import metrics
from services.mint.bouncer import Bouncer
from services.server import failpoints


class Grant:
    """Slots for one batch. Unused ones go back when the batch ends.

    `used`: how many slots the batch has claimed. They may be more than granted, if Postgres has more than Redis knows.
    """

    def __init__(self, bouncer: Bouncer, count_key: str, wanted: int) -> None:
        """`wanted` is how many slots the batch asks for; with 0 the bouncer is not asked."""
        self._bouncer = bouncer
        self._count_key = count_key
        self._wanted = wanted
        self._asking: asyncio.Task[None] | None = None
        # None until the bouncer answers, and if it does not know its count.
        self._granted: int | None = None
        self.used = 0

    async def __aenter__(self) -> Self:
        """Ask for the slots; the answer comes later."""
        if self._wanted:
            self._asking = asyncio.create_task(self._take())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Step 4: give back unused slots. If that fails, the recount corrects the count."""
        try:
            await self._wait_for_answer()
        finally:
            unused = (self._granted or 0) - self.used
            if unused > 0:
                await failpoints.reach("mint.giving_back")
                with metrics.STEP_SECONDS("give_back").time():
                    await self._bouncer.give_back(self._count_key, unused)

    async def limit(self) -> int:
        """Wait for the bouncer. Return how many slots the batch may claim."""
        with metrics.STEP_SECONDS("ask").time():
            await self._wait_for_answer()
        return self._wanted if self._granted is None else self._granted

    @property
    def is_unknown(self) -> bool:
        """Whether the bouncer was asked and did not know."""
        return self._wanted > 0 and self._granted is None

    @property
    def is_enough(self) -> bool:
        """Whether the bouncer granted all that was wanted, or did not know."""
        return self._granted is None or self._granted >= self._wanted

    async def _take(self) -> None:
        self._granted = await self._bouncer.take(self._count_key, self._wanted)
        await failpoints.reach("mint.granted")

    async def _wait_for_answer(self) -> None:
        if self._asking is not None:
            # Shielded: if the batch is cancelled meanwhile, __aexit__ still needs the number of granted slots.
            await asyncio.shield(self._asking)
