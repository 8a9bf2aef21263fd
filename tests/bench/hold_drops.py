"""Drops for the benchmark that sell by hold, and people who have a hold in one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import asyncpg

from admin.drops import NewDrop, create_drop
from services.limits.person_keys import key_digest
from tests.bench.drops import YEAR

# As `take_holds` leaves them, for many people at once.
GIVE = """
WITH people AS (
  SELECT user_id, digest, turn, gen_random_uuid() AS id
  FROM unnest($2::text[], $3::bytea[]) WITH ORDINALITY AS person (user_id, digest, turn)
), claimed AS (
  DELETE FROM slots WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM slots WHERE drop_id = $1 ORDER BY sort_order LIMIT cardinality($2::text[])))
  RETURNING sequence_num
), held AS (
  INSERT INTO holds (id, drop_id, user_id, sequence_num, expires_at)
  SELECT id, $1, user_id, sequence_num, now() + interval '1 day'
  FROM people JOIN (SELECT sequence_num, row_number() OVER () AS turn FROM claimed) AS numbers USING (turn)
), counted AS (
  INSERT INTO person_keys (drop_id, kind, digest, held_by, attempts) SELECT $1, 'user', digest, id, 1 FROM people
)
UPDATE drop_tallies SET taken = taken + cardinality($2::text[]), held = held + cardinality($2::text[])
WHERE drop_id = $1 AND writer = 0
"""


def create_hold_drop(database_url: str, tier: str, capacity: int, hold_ttl_s: int = 600) -> int:
    """Create a drop that sells by hold; its id."""

    async def run() -> int:
        connection = await asyncpg.connect(database_url)
        try:
            async with connection.transaction():
                drop_id = await create_drop(
                    connection, NewDrop(tier, YEAR, capacity, sale="hold", hold_ttl_s=hold_ttl_s)
                )
            await connection.execute("VACUUM ANALYZE slots")
        finally:
            await connection.close()
        if drop_id is None:
            raise RuntimeError(f"the drop {tier} is there already")
        return drop_id

    return asyncio.run(run())


def give_holds(database_url: str, drop_id: int, users: Sequence[str]) -> None:
    """Give each of these users a hold that lasts a day."""

    async def run() -> None:
        connection = await asyncpg.connect(database_url)
        try:
            secret = await connection.fetchval("SELECT secret FROM drop_secrets WHERE drop_id = $1", drop_id)
            digests = [key_digest(secret, "user", user) for user in users]
            await connection.execute(GIVE, drop_id, list(users), digests)
            for table in ("slots", "holds", "person_keys"):
                await connection.execute(f"VACUUM ANALYZE {table}")
        finally:
            await connection.close()

    asyncio.run(run())
