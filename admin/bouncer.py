"""Compare Redis' counts of unclaimed slots with Postgres, and overwrite them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.data.audit_log import Actor, audited
from services.data.storage.database import Database
from services.mint.bouncer import Bouncer, BouncerSettings, count_key, redis_client
from services.mint.recount import DROPS_LIMIT, Recounter
from services.mint.statements import QUERIES

__all__ = ["Bouncer", "open_bouncer", "read_counts", "rebuild_counts", "write_counts"]


@asynccontextmanager
async def open_bouncer(redis_url: str) -> AsyncIterator[Bouncer]:
    """Open Redis as the mint service uses it."""
    # After a failure Redis is not called again, so that the command knows at its end that a count was not written.
    settings = BouncerSettings(redis_url=redis_url, redis_pause_ms=60_000)
    opened = Bouncer(redis_client(settings), settings)
    try:
        yield opened
    finally:
        await opened.close()


async def read_counts(database: Database, bouncer: Bouncer) -> list[dict[str, object]]:
    """Return every drop's count in Redis, in Postgres, and their difference; None if Redis has no count."""
    rows = []
    for row in await database.fetch(QUERIES["remaining_by_drop"], None, DROPS_LIMIT):
        redis = await bouncer.read(count_key(row["tier"], row["year"], row["environment"]))
        drift = None if redis is None else redis - row["remaining"]
        rows.append({**row, "redis": redis, "postgres": row["remaining"], "drift": drift})
    return rows


async def rebuild_counts(database: Database, bouncer: Bouncer, actor: Actor) -> bool:
    """Overwrite every count in Redis by Postgres' number of unclaimed slots. Return False if Redis does not answer."""
    # The entry comes first, because Redis takes no part in Postgres' transaction.
    await audited(database, lambda connection: actor.note(connection, "bouncer.rebuild", "all drops"))
    return await write_counts(database, bouncer)


async def write_counts(database: Database, bouncer: Bouncer) -> bool:
    """Do the same after a change that has its own entry in the audit log."""
    await Recounter(database, bouncer).rebuild()
    return await bouncer.reachable()
