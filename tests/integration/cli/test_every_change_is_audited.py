"""Every command that changes something leaves an entry: who, by which login, what, and why."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
import typer

from cli.main import app
from schema.migrate import MIGRATIONS
from services.data.audit_log import Actor, Unaudited, audited
from services.data.storage.database import Database
from services.data.storage.settings import PostgresSettings
from services.draw.chains import QUICKNET
from stack.local import Stack
from stack.state import database_place
from tests.fresh_database import fresh_database
from tests.integration.cli.operator_login import operator_login, vyris
from tests.stand_ins.reforge_service import World, world

REASON = "case 45, confirmed by B"
OPERATOR = "ada-at-the-desk"

# What each command that changes the suite's data writes into the audit log.
CHANGES = {
    "drop create": "drop.create",
    "drop resize": "drop.resize",
    "drop schedule": "drop.schedule",
    "drop close": "drop.close",
    "bouncer rebuild": "bouncer.rebuild",
    "limit waive": "limit.waive",
    "draw close": "draw.close",
    "draw beacon": "draw.beacon",
    "draw cancel": "draw.cancel",
    "hold release": "hold.release",
    "membership revoke": "membership.revoke",
    "membership set-email": "email.change_asked",
    "receipts refunds-due": "receipts.export",
    "receipts refunded": "receipts.refunded",
    "user erase": "user.erase",
    "pass build": "pass.build",
    "migrate": "schema.migrate",
}
# It asks Apple: `tests/integration/mint/receipts/test_reconciliation.py` runs it.
ASKS_OTHERS = {"receipts reconcile"}
READS = {
    "drop list",
    "drop show",
    "hold list",
    "hold show",
    "limit list",
    "draw show",
    "draw winners",
    "bouncer show",
    "membership show",
    "receipts",
    "receipts not-restored",
    "pass inspect",
    "pass preview",
}
# They only touch the local stack's processes and the files of this machine.
LOCAL = {"run", "up", "down", "status", "logs", "dev device-key", "dev proof", "dev encounter-token", "dev mail"}


def commands(group: object = None, path: tuple[str, ...] = ()) -> Iterator[str]:
    """Every command of `vyris`, by its name."""
    group = group or typer.main.get_command(app)
    context = typer.Context(group)  # type: ignore[arg-type]
    for name in group.list_commands(context):  # type: ignore[attr-defined]
        command = group.get_command(context, name)  # type: ignore[attr-defined]
        if hasattr(command, "list_commands"):
            if command.invoke_without_command:
                yield " ".join((*path, name))
            yield from commands(command, (*path, name))
        else:
            yield " ".join((*path, name))


def test_every_command_is_known_to_change_something_or_not_to() -> None:
    known = [*CHANGES, *ASKS_OTHERS, *READS, *LOCAL]
    assert len(known) == len(set(known))
    assert sorted(commands()) == sorted(known)


@pytest.fixture
async def running(database_template: Stack, tmp_path: Path):  # type: ignore[no-untyped-def]
    async with fresh_database(database_template.database_url) as url, world(url, tmp_path) as opened:
        yield opened


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A database with the drop `genesis 2025`."""
    connection = await asyncpg.connect(database_url)
    await connection.execute("INSERT INTO drops (tier, year, capacity) VALUES ('genesis', '2025', 1)")
    yield connection
    await connection.close()


async def insert_failed_receipt(running: World) -> str:
    key = os.urandom(32)
    await running.database.execute(
        "INSERT INTO receipt_ledger (receipt_key, state, drop_id, user_id, kind) VALUES ($1, 'FAILED', $2, 'eve', 'x')",
        *(key, running.drop_id),
    )
    return key.hex()


async def hold_of(running: World, user: str) -> uuid.UUID:
    """A drop `held 2027` with a limit, and the user's hold in it."""
    database = running.database
    drop_id: int = await database.fetchval(
        "INSERT INTO drops (tier, year, capacity, sale, limits)"
        " VALUES ('held', '2027', 3, 'hold', '{user}') RETURNING id"
    )
    await database.execute("INSERT INTO drop_secrets VALUES ($1, $2)", drop_id, os.urandom(32))
    await database.execute(
        "INSERT INTO drop_tallies (drop_id, writer, taken, held)"
        " SELECT $1, n, (n = 0)::int, (n = 0)::int FROM generate_series(0, 15) AS n",
        drop_id,
    )
    hold: uuid.UUID = await database.fetchval(
        "INSERT INTO holds (drop_id, user_id, sequence_num, expires_at)"
        " VALUES ($1, $2, 1, now() + interval '1 hour') RETURNING id",
        *(drop_id, user),
    )
    secret = await database.fetchval("SELECT secret FROM drop_secrets WHERE drop_id = $1", drop_id)
    key = hmac.digest(secret, b"user" + user.encode(), hashlib.sha256)
    await database.execute(
        "INSERT INTO person_keys (drop_id, kind, digest, held_by, attempts) VALUES ($1, 'user', $2, $3, 1)",
        *(drop_id, key, hold),
    )
    return hold


QUICKNET_ROUND, QUICKNET_SIGNATURE = (
    1_000,
    "b44679b9a59af2ec876b1a6b1ad52ea9b1615fc3982b19576350f93447cb1125e342b73a8dd2bacbe47e4b6b63ed5e39",
)


async def draws_of_the_past(running: World) -> None:
    """Draws `drawn 2027`, whose entries are over, and `drawn 2028`, which waits for its round."""
    terms = {
        "chain_hash": QUICKNET.chain_hash.hex(),
        "public_key": QUICKNET.public_key.hex(),
        "genesis_time": QUICKNET.genesis_time,
        "period_s": QUICKNET.period_s,
        "round": QUICKNET_ROUND,
    }
    database = running.database
    for year in ("2027", "2028"):
        drop_id = await database.fetchval(
            "INSERT INTO drops (tier, year, capacity, sale, limits, closes_at)"
            " VALUES ('drawn', $1, 1, 'draw', '{user}', now() + interval '1 day') RETURNING id",
            year,
        )
        await database.execute(
            "INSERT INTO draws (drop_id, terms, terms_hash, entries_open, entries_close, challenge_s, chain_hash)"
            " VALUES ($1, $2, sha256('x'), now() - interval '3 days', now() - interval '1 hour', 60, $3)",
            *(drop_id, json.dumps(terms), QUICKNET.chain_hash),
        )
    await database.execute(
        "UPDATE draws SET closed_at = now(), entries = 0, withdrawn = 0, root = sha256('') WHERE drop_id = $1", drop_id
    )
    await database.execute(
        "INSERT INTO draw_checkpoints (drop_id, round, round_at, note, shown_at)"
        " VALUES ($1, $2, now(), 'a note', now())",
        *(drop_id, QUICKNET_ROUND),
    )


async def test_an_operators_login_may_do_all_of_it_and_every_change_leaves_an_entry(
    running: World, redis_url: str, tmp_path: Path
) -> None:
    revoked, changed, built = [await running.member(user=name) for name in ("ben", "cid", "dan")]
    await running.member(user="erased-user")
    key = await insert_failed_receipt(running)
    hold = await hold_of(running, "eve")
    await draws_of_the_past(running)
    state = tmp_path / "local-state"
    state.mkdir()
    (state / "ports.json").write_text(json.dumps({"database": database_place(running.database_url)}))
    drop = ("late-summer", "2027")
    why = ("--reason", REASON)
    calls = {
        "drop create": (*drop, "--capacity", "3"),
        "drop resize": (*drop, "--capacity", "4"),
        "drop schedule": (*drop, "--opens-at", "2027-07-01"),
        "drop close": drop,
        "bouncer rebuild": (),
        "limit waive": ("held", "2027", "eve"),
        "hold release": (str(hold),),
        "draw close": ("drawn", "2027"),
        "draw beacon": ("drawn", "2028", QUICKNET_SIGNATURE),
        "draw cancel": ("drawn", "2028"),
        "membership revoke": (revoked,),
        "membership set-email": (changed, "new@mail.example"),
        "receipts refunds-due": ("--export",),
        "receipts refunded": (key,),
        "user erase": ("erased-user", "--yes"),
        "pass build": (built, "-o", str(tmp_path / "a.pkpass")),
    }
    assert set(calls) == set(CHANGES) - {"migrate"}
    login = f"op_{uuid.uuid4().hex[:8]}"
    async with operator_login(running.database_url, login) as url:
        environment = {
            "DATABASE_URL": url,
            "REDIS_URL": redis_url,
            "REFORGE_ADDRESS": f"127.0.0.1:{running.process.port}",
            "VYRIS_STATE_DIR": str(state),
            "LOGNAME": OPERATOR,
        }
        done = vyris([(*name.split(), *arguments, *why) for name, arguments in calls.items()], environment)
    for name, result in zip(calls, done, strict=True):
        assert result.status == 0, (name, result)
    entries = await running.database.fetch(
        "SELECT action, actor, reason, database_user, application_name FROM audit_log ORDER BY id"
    )
    # The first of each: an erasure revokes as well.
    by_action = {row["action"]: row for row in reversed(entries)}
    for name in calls:
        entry = by_action[CHANGES[name]]
        assert (entry["actor"], entry["reason"]) == (OPERATOR, REASON), name
        by_service = name == "membership set-email"
        assert entry["application_name"] == ("vyris-reforge" if by_service else "vyris-cli")
        assert by_service or entry["database_user"] == login, name


async def test_the_name_in_the_environment_can_be_forged_and_the_login_cannot(
    database: asyncpg.Connection, database_url: str, redis_url: str
) -> None:
    login = f"op_{uuid.uuid4().hex[:8]}"
    async with operator_login(database_url, login) as url:
        environment = {"DATABASE_URL": url, "REDIS_URL": redis_url, "LOGNAME": "postgres"}
        [done] = vyris([("drop", "close", "genesis", "2025", "--reason", "a joke")], environment)
    assert done.status == 0, done
    row = await database.fetchrow("SELECT actor, database_user FROM audit_log")
    assert tuple(row) == ("postgres", login)


async def test_migrations_of_a_database_in_use_are_audited(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    # As after all migrations of this tree: a database without a drop has no entry.
    assert await connection.fetchval("SELECT count(*) FROM audit_log") == 0
    await connection.execute("INSERT INTO drops (tier, year, capacity) VALUES ('genesis', '2025', 1)")
    newest = max(MIGRATIONS.glob("*.sql"))
    version, _, _ = newest.name.partition("_")
    down = newest.read_text().split("-- migrate:down")[1]
    async with connection.transaction():
        await connection.execute(down)
        await connection.execute("DELETE FROM schema_migrations WHERE version = $1", version)
    [done] = vyris([("migrate",)], {"DATABASE_URL": database_url, "LOGNAME": OPERATOR})
    assert done.status == 0, done
    row = await connection.fetchrow("SELECT actor, action, subject FROM audit_log ORDER BY id DESC LIMIT 1")
    assert tuple(row) == (OPERATOR, "schema.migrate", version)
    await connection.close()


async def test_a_drop_that_is_there_already_leaves_no_entry(database: asyncpg.Connection, database_url: str) -> None:
    environment = {"DATABASE_URL": database_url}
    [done] = vyris([("drop", "create", "Genesis ", "\uff12\uff10\uff12\uff15", "--if-missing")], environment)
    assert (done.status, "Found drop genesis 2025" in done.output) == (0, True), done
    assert await database.fetchval("SELECT count(*) FROM audit_log") == 0


async def test_a_change_without_an_entry_is_rolled_back(database_url: str) -> None:
    async with Database.open(PostgresSettings(database_url=database_url), "test") as database:

        async def silent(connection: asyncpg.Connection) -> str:
            return await connection.execute("INSERT INTO drops (tier, year, capacity) VALUES ('x', '2025', 1)")

        with pytest.raises(Unaudited):
            await audited(database, silent)
        assert await database.fetch("SELECT id FROM drops") == []

        async def write_note(connection: asyncpg.Connection) -> str:
            await Actor("ada", "a test").note(connection, "drop.create", "x 2025")
            return await silent(connection)

        await audited(database, write_note)
        assert len(await database.fetch("SELECT id FROM drops")) == 1


async def test_an_account_without_a_name_is_named_by_its_id(monkeypatch: pytest.MonkeyPatch) -> None:
    from cli import actor

    def no_entry() -> str:
        raise KeyError("getpwuid(): uid not found: 10001")

    monkeypatch.setattr(actor.getpass, "getuser", no_entry)
    assert actor.operator_name() == f"uid {os.getuid()}"
    monkeypatch.setattr(actor.getpass, "getuser", lambda: "a\x1b[31mda" + "x" * 100)
    assert actor.operator_name() == "a[31mda" + "x" * 57
