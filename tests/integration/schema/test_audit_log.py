"""The audit log is append-only; Postgres itself writes the login and the time."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from tests.integration.cli.operator_login import operator_login

INSERT = "INSERT INTO audit_log (actor, action, subject, reason, details) VALUES ($1, $2, $3, 'why', $4)"


@pytest.fixture
async def owner(database_url: str):  # type: ignore[no-untyped-def]
    connection = await asyncpg.connect(database_url)
    details = json.dumps({"new_key": "key-of-ada", "reforge_id": "r", "capacity": 5})
    await connection.execute(INSERT, "reforge", "reforge.confirmed", "m-1", details)
    await connection.execute(INSERT, "reforge", "reforge.confirmed", "m-2", details)
    yield connection
    await connection.close()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_log SET actor = 'somebody else'",
        "UPDATE audit_log SET details = '{}'",
        "UPDATE audit_log SET details = details || '{\"new_key\": null}'",
        "DELETE FROM audit_log",
        "DELETE FROM audit_log WHERE false",
        "TRUNCATE audit_log",
    ],
)
async def test_not_even_the_owner_changes_an_entry(owner: asyncpg.Connection, statement: str) -> None:
    before = await owner.fetch("SELECT * FROM audit_log ORDER BY id")
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
        await owner.execute(statement)
    assert await owner.fetch("SELECT * FROM audit_log ORDER BY id") == before


async def test_an_erasure_takes_a_persons_names_out_and_changes_nothing_else(owner: asyncpg.Connection) -> None:
    before = await owner.fetch("SELECT * FROM audit_log ORDER BY id")
    assert await owner.fetchval("SELECT redact_audit_log(ARRAY['m-1'], ARRAY['key-of-ada', 'reforge'])") == 1
    rows = await owner.fetch("SELECT * FROM audit_log ORDER BY id")
    assert json.loads(rows[0]["details"]) == {"new_key": "erased", "reforge_id": "r", "capacity": 5}
    assert {**rows[0], "details": None} == {**before[0], "details": None}
    assert rows[1:] == before[1:]
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
        await owner.execute("UPDATE audit_log SET details = details || '{\"new_key\": null}'")


async def test_the_login_and_the_time_are_not_what_the_caller_says(owner: asyncpg.Connection) -> None:
    await owner.execute("SET ROLE vyris_mint")
    await owner.execute(
        "INSERT INTO audit_log (happened_at, actor, action, subject, reason, database_user, client_address)"
        " VALUES ('2001-01-01', 'x', 'y', 'z', 'w', 'another', '203.0.113.7')"
    )
    await owner.execute("RESET ROLE")
    row = await owner.fetchrow("SELECT * FROM audit_log ORDER BY id DESC LIMIT 1")
    assert row["database_user"] == await owner.fetchval("SELECT session_user")
    assert row["client_address"] == await owner.fetchval("SELECT inet_client_addr()")
    assert datetime.now(UTC) - row["happened_at"] < timedelta(minutes=1)


async def test_an_operators_login_appends_and_changes_nothing(owner: asyncpg.Connection, database_url: str) -> None:
    async with operator_login(database_url, "op_append") as url:
        connection = await asyncpg.connect(url)
        await connection.execute(INSERT, "ada", "a", "s", "{}")
        entry = await connection.fetchrow("SELECT actor, database_user FROM audit_log ORDER BY id DESC LIMIT 1")
        assert tuple(entry) == ("ada", "op_append")
        forbidden = (
            "UPDATE audit_log SET actor = 'x'",
            "DELETE FROM audit_log",
            "TRUNCATE audit_log",
            "ALTER TABLE audit_log DISABLE TRIGGER ALL",
            "INSERT INTO audit_log (id, actor, action, subject, reason) OVERRIDING SYSTEM VALUE"
            " VALUES (999, 'x', 'x', 'x', 'x')",
            "INSERT INTO devices DEFAULT VALUES",
            "UPDATE contacts SET email = 'thief@example.org'",
            "INSERT INTO email_changes DEFAULT VALUES",
            "UPDATE reforge_requests SET state = 'CONFIRMED'",
            "INSERT INTO mail_outbox DEFAULT VALUES",
            "UPDATE passes SET state = 'ACTIVE'",
            "DELETE FROM memberships",
            "DELETE FROM receipt_ledger",
            "DELETE FROM drops",
            "CREATE TABLE mine ()",
            "SELECT grant_service_roles()",
            "SELECT grant_operator_role()",
        )
        for statement in forbidden:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
        await connection.close()


async def test_granting_to_operators_again_changes_nothing(owner: asyncpg.Connection) -> None:
    held = (
        "SELECT table_name, privilege_type FROM information_schema.role_table_grants"
        " WHERE grantee = 'vyris_operator' ORDER BY 1, 2"
    )
    before = await owner.fetch(held)
    assert before
    await owner.execute("SELECT grant_operator_role()")
    assert await owner.fetch(held) == before
