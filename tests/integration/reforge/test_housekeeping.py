"""What the reforge service deletes, and when."""

from __future__ import annotations

from uuid import uuid4

from services.data.storage.database import Database
from services.data.storage.settings import PostgresSettings
from services.reforge.delays import Delays
from services.reforge.housekeeping import Housekeeping
from tests.stand_ins.reforge_service import Device, World

RETENTION_D = 30


async def test_old_changes_of_address_are_forgotten_and_open_ones_are_not(reforge: World) -> None:
    member = await reforge.member(Device("A"))
    for days, settled in (
        (RETENTION_D + 1, "applied_at"),
        (RETENTION_D + 1, "refused_at"),
        (RETENTION_D - 1, "applied_at"),
    ):
        await add_change(reforge, member, days, settled)
    await add_change(reforge, member, RETENTION_D + 1, None)
    async with Database.open(PostgresSettings(database_url=reforge.database_url), "test") as database:
        await Housekeeping(
            database, Delays(undo_h=24, email_h=72), mail_retention_d=RETENTION_D, request_retention_d=RETENTION_D
        ).once()
    left = await reforge.database.fetch(
        "SELECT applied_at IS NULL AND refused_at IS NULL AS open FROM email_changes WHERE membership_id = $1", member
    )
    assert sorted(row["open"] for row in left) == [False, True]


async def add_change(world: World, member: str, age_d: int, settled: str | None) -> None:
    """Insert a change of address that is `age_d` days old; `settled` is the column that says how it ended."""
    columns, values = ("", "") if settled is None else (f", {settled}", ", now()")
    await world.database.execute(
        "INSERT INTO email_changes "  # noqa: S608 - column names of this file
        f"(id, membership_id, new_email, refuse_digest, asked_by, created_at, effective_at{columns}) "
        f"VALUES ($1::uuid, $2, 'new@example.org', sha256(uuid_send($1::uuid)), 'device', "
        f"now() - make_interval(days => $3), now() + interval '3 days'{values})",
        uuid4(),
        member,
        age_d,
    )
