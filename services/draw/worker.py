"""Takes each draw from one step to the next: close, root, checkpoint, round, draw, offers.

Every mint process does this, and Postgres decides which one is first. A process reads the next step from the draw's
row, so if one is killed, another one continues.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import asyncpg
import structlog

from services.data.storage.database import Database
from services.data.storage.failures import DatabaseFailed
from services.draw import closing, drawing, metrics
from services.draw.chains import Chain
from services.draw.development_beacon import DevelopmentBeacon
from services.draw.relays import Relays
from services.draw.signing import DrawSigner
from services.draw.statements import QUERIES
from services.draw.terms import Terms

DRAWS_A_ROUND: Final = 100
ENTRIES_A_TRANSACTION: Final = 5_000
FORGET_INTERVAL_S: Final = 3_600.0
FORGET_MORE_S: Final = 0.1
# The next step of a draw follows soon: each one waits for the one before.
STEP_S: Final = 0.05
# The pause before relays are asked again for a round that none of them had.
ASK_AGAIN_S: Final = 2.0

log = structlog.get_logger(__name__)


class Stuck(Exception):
    """A draw cannot continue by itself. `why` is one word, for the metric."""

    def __init__(self, why: str, message: str) -> None:
        super().__init__(message)
        self.why = why


class Beacons:
    """Gets the signatures of rounds, by chain."""

    def __init__(self, relays: Relays, development: DevelopmentBeacon | None) -> None:
        """`development` is None in production."""
        self._relays = relays
        self._development = development
        known = [relays.chain] + ([development.chain] if development is not None else [])
        self._chains: Mapping[bytes, Chain] = {chain.chain_hash: chain for chain in known}
        self._ask_after_s: dict[int, float] = {}

    def chain(self, terms: Terms) -> Chain:
        """The chain that terms name, pinned here. Raises Stuck."""
        members = terms.members
        chain = self._chains.get(bytes.fromhex(members["chain_hash"]))
        named = (members["public_key"], members["genesis_time"], members["period_s"])
        if chain is None or named != (chain.public_key.hex(), chain.genesis_time, chain.period_s):
            raise Stuck("chain", "the terms name a beacon chain that is not known here")
        return chain

    async def signature(self, row: asyncpg.Record, chain: Chain) -> bytes | None:
        """The verified signature of a draw's round; None if it cannot be had now."""
        number = row["round"]
        if self._development is not None and chain == self._development.chain:
            return self._development.signature(number, row["now"])
        if time.monotonic() < self._ask_after_s.get(row["drop_id"], 0.0):
            return None
        signature = await self._relays.signature(number)
        if signature is None:
            self._ask_after_s[row["drop_id"]] = time.monotonic() + ASK_AGAIN_S
        return signature


class DrawWorker:
    """Does the next step of every draw that is due."""

    def __init__(self, database: Database, beacons: Beacons, signer: DrawSigner | None) -> None:
        self._database = database
        self._beacons = beacons
        self._signer = signer
        self._free_since_s: dict[tuple[str, str], float] = {}
        self._measured: set[tuple[str, str]] = set()
        self._stuck: set[tuple[str, str, str]] = set()
        self._steps: Mapping[str, Callable[[asyncpg.Record], Awaitable[bool]]] = {
            "CLOSE": self._close,
            "COUNT": self._count,
            "PUBLISH": self._publish,
            "SHOW": self._show,
            "FETCH": self._fetch,
            "DRAW": self._draw,
            "OFFER": self._offer,
        }

    async def once(self) -> bool:
        """One round; True if a draw took a step. Raises DatabaseUnavailable."""
        took_step = False
        stuck: set[tuple[str, str, str]] = set()
        for row in await self._database.fetch(QUERIES["find_work"], DRAWS_A_ROUND):
            name = (row["tier"], row["year"])
            try:
                took_step = await self._steps[row["step"]](row) or took_step
            except Stuck as problem:
                stuck.add((*name, problem.why))
                log.error("draw_stuck", drop=name, step=row["step"], problem=str(problem))
            except DatabaseFailed as error:
                log.warning("draw_step_failed", drop=name, step=row["step"], error=error.cause)
            except Exception:  # one draw must not stop the others
                log.exception("draw_step_failed", drop=name, step=row["step"])
        for one in self._stuck | stuck:
            metrics.STUCK.labels(*one).set(one in stuck)
        self._stuck = stuck
        await self._measure()
        return took_step

    async def _close(self, row: asyncpg.Record) -> bool:
        return await closing.close_entries(self._database, row["drop_id"])

    async def _count(self, row: asyncpg.Record) -> bool:
        return await closing.count_leaves(self._database, row["drop_id"])

    async def _publish(self, row: asyncpg.Record) -> bool:
        terms = Terms.read(row["terms"])
        signer = able_signer(self._signer, terms)
        return await closing.publish_root(self._database, row["drop_id"], self._beacons.chain(terms), signer)

    async def _show(self, row: asyncpg.Record) -> bool:
        return await closing.show_checkpoint(self._database, row["drop_id"], row["challenge_s"])

    async def _fetch(self, row: asyncpg.Record) -> bool:
        chain = self._beacons.chain(Terms.read(row["terms"]))
        signature = await self._beacons.signature(row, chain)
        if signature is None:
            return False
        return await keep_signature(self._database, row["drop_id"], chain, row["round"], signature)

    async def _draw(self, row: asyncpg.Record) -> bool:
        chain = self._beacons.chain(Terms.read(row["terms"]))
        if not chain.verifies(row["round"], row["signature"]):
            raise Stuck("signature", "the stored signature is not that of the round")
        try:
            await drawing.draw(self._database, row["drop_id"])
        except drawing.EntriesChanged as change:
            raise Stuck("entries", str(change)) from None
        return True

    async def _offer(self, row: asyncpg.Record) -> bool:
        made = await drawing.offer_again(self._database, row["drop_id"]) if row["has_free"] else 0
        await self._database.execute(QUERIES["finish"], row["drop_id"])
        return bool(made)

    async def _measure(self) -> None:
        rows = await self._database.fetch(QUERIES["measure"], DRAWS_A_ROUND)
        running = set()
        for row in rows:
            name = (row["tier"], row["year"])
            running.add(name)
            now_s = time.monotonic()
            since_s = self._free_since_s.setdefault(name, now_s) if row["has_free"] else now_s
            if not row["has_free"]:
                self._free_since_s.pop(name, None)
            self._set_gauges(name, row["root_late_s"], row["beacon_late_s"], now_s - since_s)
        for name in self._measured - running:
            self._free_since_s.pop(name, None)
            self._set_gauges(name, 0, 0, 0)
        self._measured = running

    def _set_gauges(self, name: tuple[str, str], root_late_s: float, beacon_late_s: float, wave_late_s: float) -> None:
        metrics.ROOT_LATE_S.labels(*name).set(root_late_s)
        metrics.BEACON_LATE_S.labels(*name).set(beacon_late_s)
        metrics.WAVE_LATE_S.labels(*name).set(wave_late_s)


def able_signer(signer: DrawSigner | None, terms: Terms) -> DrawSigner:
    """The signer under the name that the terms give its key. Raises Stuck if it has another key."""
    name, public_key = terms.key
    if signer is None or public_key != signer.public_key:
        raise Stuck("key", "the terms name another signing key than DRAW_SIGNING_KEY_FILE has")
    return signer if name == signer.name else signer.named(name)


async def keep_signature(database: Database, drop_id: int, chain: Chain, number: int, signature: bytes) -> bool:
    """Store a round's signature if it verifies and the draw waits for it. Raises DatabaseUnavailable."""
    if not chain.verifies(number, signature):
        return False
    row = await database.fetchrow(QUERIES["keep_signature"], drop_id, number, signature)
    return row is not None


class ForgettingEntrants:
    """Deletes users and salts of draws that closed long ago: the leaves become random numbers."""

    def __init__(self, database: Database, retention_d: int) -> None:
        self._database = database
        self._retention_d = retention_d

    async def once(self) -> bool:
        """One round; True if there may be more. Raises DatabaseUnavailable."""
        done = await self._database.execute(QUERIES["forget_entrants"], self._retention_d, ENTRIES_A_TRANSACTION)
        return done == f"UPDATE {ENTRIES_A_TRANSACTION}"
