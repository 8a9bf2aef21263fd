"""Draws on real databases, led step by step, by a beacon of the test's own."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from admin.draws import NewDraw, create_draw
from admin.drops import NewDrop
from services.data.storage.database import Database
from services.draw.chains import QUICKNET, round_point
from services.draw.development_beacon import DevelopmentBeacon
from services.draw.document import build_document
from services.draw.engine import DrawEngine, running_draws
from services.draw.entering import EntryOrder, TakenEntry
from services.draw.relays import Relays
from services.draw.settings import DrawSettings
from services.draw.signing import DrawSigner
from services.draw.statements import QUERIES
from services.draw.worker import Beacons, DrawWorker
from services.holds.ending import Lapses
from services.limits import PersonKeys
from services.mint.cycle import MintAnswer
from services.mint.drops import Drop, DropDirectory
from tests.stand_ins.mint_engine import Mint, MintMaker
from vyris.draw.v1 import draw_pb2
from vyris.errors import VyrisError

_tiers = itertools.count(1)
BEACON = DevelopmentBeacon(4_711)
SIGNER = DrawSigner(Ed25519PrivateKey.from_private_bytes(bytes(range(32))), "vyris.example")


def in_s(seconds: float) -> datetime:
    moment = datetime.now(UTC) + timedelta(seconds=seconds)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


@dataclass
class Night:
    """One process: its entries, its worker, and its mints in one draw."""

    engine: DrawEngine
    worker: DrawWorker
    mint: Mint
    keys: PersonKeys
    drop: Drop
    database: Database
    lapses: Lapses
    beacons: Beacons

    async def enter(self, user: str, **proven: str) -> TakenEntry:
        keys = await self.keys.of(self.drop.id, self.drop.limits, {"user": user, **proven})
        entered = await self.engine.enter(self.drop, EntryOrder(user, keys), 10)
        if isinstance(entered, VyrisError):
            raise entered
        return entered[0]

    async def pay(self, receipt: str, user: str) -> MintAnswer:
        keys = await self.keys.of(self.drop.id, self.drop.limits, {"user": user})
        return await self.mint.mint(receipt, user, keys=keys)

    async def value(self, query: str, *args: object) -> Any:
        return await self.mint.value(query, *args)

    async def document(self) -> draw_pb2.GetDrawResponse:
        """What everybody sees, right now."""
        row = await self.database.fetchrow(QUERIES["read_draw"], self.drop.id)
        assert row is not None
        return build_document(row)

    async def shift(self, entries_close: float = 0.0, round_at: float | None = None) -> None:
        """Move the close, and the moment at which the round in force is taken for due, to so many seconds from now.

        A test that waited for the times of the terms would take a minute.
        """
        async with unfrozen(self.database):
            await self.database.execute(
                "UPDATE draws SET entries_close = now() + make_interval(secs => $2) WHERE drop_id = $1",
                self.drop.id,
                entries_close,
            )
        if round_at is not None:
            await self.database.execute(
                "UPDATE draw_checkpoints SET round_at = now() + make_interval(secs => $2) WHERE drop_id = $1",
                self.drop.id,
                round_at,
            )

    async def commit(self) -> draw_pb2.GetDrawResponse:
        """Close now, and lead the draw to its checkpoint."""
        await self.shift()
        await self.lead()
        return await self.document()

    async def give_round(self, number: int | None = None) -> None:
        """Let the round in force be due, with its true signature."""
        await self.shift(-1, -1)
        document = await self.document()
        signature = bytes(round_point(number or document.beacon.round).scalar_mul(4_711).compress())
        await self.database.execute("UPDATE draws SET signature = $2 WHERE drop_id = $1", self.drop.id, signature)

    async def draw(self) -> draw_pb2.GetDrawResponse:
        """Lead it from entering to its offers."""
        await self.commit()
        await self.give_round()
        await self.lead()
        return await self.document()

    async def lead(self) -> None:
        """Go on until nothing is to be done."""
        while await self.worker.once():
            pass

    async def expire(self, *users: str) -> None:
        """Let the offers of these users, or of all, be past their time and grace, and take their numbers back."""
        await self.database.execute(
            "UPDATE holds SET expires_at = now() - interval '1 hour' "
            "WHERE state = 'HELD' AND ($1::text[] = '{}' OR user_id = ANY ($1))",
            list(users),
        )
        while await self.lapses.once():
            pass

    async def end_sale(self, ended_s_ago: int) -> None:
        """Move the end of the sale, which never changes."""
        for statement in (
            "ALTER TABLE drops DISABLE TRIGGER drops_terms_are_fixed",
            f"UPDATE drops SET closes_at = now() - interval '{ended_s_ago} seconds' WHERE id = {self.drop.id}",  # noqa: S608
            "ALTER TABLE drops ENABLE TRIGGER drops_terms_are_fixed",
        ):
            await self.database.execute(statement)

    async def offered(self) -> list[tuple[int, int, str, str]]:
        """Rank, number, user and state of each offer, by rank."""
        rows = await self.database.fetch(
            "SELECT o.rank, o.sequence_num, h.user_id, h.state::text FROM draw_offers o LEFT JOIN holds h "
            "ON h.id = o.hold_id WHERE o.drop_id = $1 ORDER BY rank",
            self.drop.id,
        )
        return [tuple(row) for row in rows]

    async def check_sum(self) -> None:
        """Slots, held, live, and revoked ones that keep their number make up the capacity; the tallies say the same."""
        row = await self.database.fetchrow(SUM, self.drop.id)
        assert row is not None
        assert row["slots"] + row["held"] + row["live"] == row["capacity"], dict(row)
        assert (row["tallied_held"], row["tallied"]) == (row["held"], row["capacity"] - row["slots"]), dict(row)


SUM = """
SELECT capacity, (SELECT count(*) FROM slots WHERE drop_id = d.id) AS slots,
       (SELECT count(*) FROM holds WHERE drop_id = d.id AND state = 'HELD') AS held,
       (SELECT count(*) FROM memberships WHERE drop_id = d.id AND revoked_at IS NULL) AS live,
       (SELECT sum(taken) FROM drop_tallies WHERE drop_id = d.id) AS tallied,
       (SELECT sum(held) FROM drop_tallies WHERE drop_id = d.id) AS tallied_held
FROM drops d WHERE id = $1
"""


class unfrozen:  # noqa: N801 - reads as a statement
    """Let a test move the times that never change."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def __aenter__(self) -> None:
        await self._database.execute("ALTER TABLE draws DISABLE TRIGGER draws_terms_are_fixed")

    async def __aexit__(self, *_: object) -> None:
        await self._database.execute("ALTER TABLE draws ENABLE TRIGGER draws_terms_are_fixed")


OpenNight = Callable[..., Awaitable[Night]]


async def announce(
    database: Database,
    capacity: int,
    *,
    limits: Sequence[str] = (),
    entries_open: float = -60,
    entries_close: float = 3_600,
    challenge_s: int = 60,
    round_after_s: int = 600,
    **new: Any,
) -> Drop:
    """A draw that runs: entries are open, and the round is ten minutes after their close."""
    tier = f"draw-{next(_tiers)}"
    drop = NewDrop(
        tier,
        "2032",
        capacity,
        closes_at=in_s(entries_close + 7 * 86_400),
        sale="draw",
        limits=tuple(limits),
        hold_ttl_s=86_400,
        hold_extensions=0,
        **new,
    )
    round_ = BEACON.chain.first_round_from(in_s(entries_close + challenge_s + round_after_s))
    wanted = NewDraw(BEACON.chain, round_, in_s(entries_open), in_s(entries_close), challenge_s, SIGNER.verifier_key)
    assert await database.in_transaction(lambda connection: create_draw(connection, drop, wanted))
    return await DropDirectory(database).named(tier, "2032")


@pytest.fixture
async def open_night(make_mint: MintMaker) -> AsyncIterator[OpenNight]:
    """Call it for a process with a draw of its own; give it a `drop` for another process on the same draw."""
    async with AsyncExitStack() as stack:

        async def open_one(capacity: int = 3, drop: Drop | None = None, **new: Any) -> Night:
            database = make_mint.database
            if drop is None:
                drop = await announce(database, capacity, **new)
            mint = await make_mint(drop=drop)
            settings = DrawSettings(draw_interval_ms=60_000, draw_relays="")
            engine = await stack.enter_async_context(running_draws(database, settings, SIGNER, BEACON))
            beacons = Beacons(Relays(QUICKNET, []), BEACON)
            worker = DrawWorker(database, beacons, SIGNER)
            lapses = Lapses(database, mint.bouncer, DropDirectory(database), grace_s=60)
            return Night(engine, worker, mint, PersonKeys(database), drop, database, lapses, beacons)

        yield open_one
