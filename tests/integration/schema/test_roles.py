"""Each service's login can do what the service does, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import asyncpg
import pytest

from schema.migrate import MIGRATIONS
from services.data.storage.database import Database
from services.data.storage.queries import Queries
from services.data.storage.settings import PostgresSettings
from suite import NAMES

REPOSITORY = Path(__file__).resolve().parents[3]
SCHEMA_README = REPOSITORY / "schema" / "README.md"
# The services that accept device proofs; README.md does not name them.
PROOF_SERVICES = {"encounter", "wallet", "reforge"}
# The statements that a service's process runs besides those of its own folder.
HOSTED = {"mint": ("holds", "limits", "supply", "draw")}
WRITES = ("INSERT", "UPDATE", "DELETE", "TRUNCATE")


def writers() -> dict[str, set[str]]:
    """Table by table, the services that the schema's README names as writers."""
    found: dict[str, set[str]] = {}
    for line in SCHEMA_README.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        for table in re.findall(r"`([a-z_]+)`", cells[0]) if line.startswith("| `") else []:
            named = {service for service in NAMES if re.search(rf"\b{service}\b", cells[1])}
            if cells[1].startswith("all"):
                named = set(NAMES)
            if "every service that accepts device proofs" in cells[1]:
                named = PROOF_SERVICES
            found[table] = named
    return found


async def test_the_grants_are_the_readmes_table(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    tables = {row[0] for row in await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")}
    documented = writers()
    assert set(documented) == tables - {"schema_migrations"}
    for table in tables:
        for service in NAMES:
            may = {
                privilege
                for privilege in WRITES
                if await connection.fetchval(
                    "SELECT has_table_privilege($1, $2, $3)", f"vyris_{service}", table, privilege
                )
            }
            assert bool(may) == (service in documented.get(table, set())), (service, table, may)
            assert "TRUNCATE" not in may
    for table in ("audit_log", "membership_events"):  # append-only, for everybody
        for service in NAMES:
            for privilege in ("UPDATE", "DELETE"):
                assert not await connection.fetchval(
                    "SELECT has_table_privilege($1, $2, $3)", f"vyris_{service}", table, privilege
                )
    for privilege in ("SELECT", "UPDATE", "DELETE"):  # mint only inserts what belongs to reforge
        for table in ("devices", "contacts"):
            assert not await connection.fetchval("SELECT has_table_privilege('vyris_mint', $1, $2)", table, privilege)
    await connection.close()


@pytest.mark.parametrize("service", NAMES)
async def test_every_statement_of_a_service_is_allowed_to_its_role(service: str, database_url: str) -> None:
    """Postgres checks permissions when it explains a statement; the parameters do not matter."""
    folders = [REPOSITORY / "services" / name for name in (service, *HOSTED.get(service, ()))]
    if service in PROOF_SERVICES:
        folders.append(REPOSITORY / "services" / "identity" / "device_proof")
    connection = await asyncpg.connect(database_url, server_settings={"role": f"vyris_{service}"})
    explained, refused = 0, []
    for file in (file for folder in folders for file in folder.rglob("queries.sql")):
        for name, statement in Queries(file)._statements.items():
            if service != "reforge" and name == "purge_proofs":
                continue  # reforge purges for all
            try:
                await connection.execute(f"EXPLAIN (GENERIC_PLAN) {statement}")
            except asyncpg.InsufficientPrivilegeError as refusal:
                refused.append(f"{name}: {refusal}")
            explained += 1
    assert not refused
    assert explained > 3
    await connection.close()


@pytest.mark.parametrize("service", NAMES)
async def test_nothing_is_readable_that_no_statement_of_the_service_names(service: str, database_url: str) -> None:
    names = (service, "identity/device_proof", *HOSTED.get(service, ()))
    folders = [REPOSITORY / "services" / name for name in names]
    words = {
        word
        for folder in folders
        for file in folder.rglob("queries.sql")
        for statement in Queries(file)._statements.values()
        for word in re.findall(r"[a-z_]+", re.sub(r"--.*", "", statement))
    }
    connection = await asyncpg.connect(database_url)
    readable = {
        row[0]
        for row in await connection.fetch(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public' "
            "AND has_table_privilege($1, format('%I.%I', schemaname, tablename), 'SELECT')",
            f"vyris_{service}",
        )
    }
    await connection.close()
    assert readable
    assert readable <= words


@pytest.mark.parametrize("service", NAMES)
async def test_a_service_cannot_write_the_tables_of_another(service: str, database_url: str) -> None:
    connection = await asyncpg.connect(database_url, server_settings={"role": f"vyris_{service}"})
    for table, allowed in writers().items():
        if service not in allowed:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(f"DELETE FROM {table}")  # noqa: S608 - a name out of the README
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(f"INSERT INTO {table} DEFAULT VALUES")
    for forbidden in ("CREATE TABLE mine ()", "DROP TABLE drops", "SELECT grant_service_roles()"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(forbidden)
    await connection.close()


async def test_a_services_pool_takes_its_role_from_the_url(database_url: str) -> None:
    settings = PostgresSettings(database_url=f"{database_url}{'&' if '?' in database_url else '?'}role=vyris_wallet")
    async with Database.open(settings, "test") as database:
        row = await database.fetchrow("SELECT current_user AS name")
        assert row is not None
        assert row["name"] == "vyris_wallet"
        assert await database.holds("passes")


async def test_the_statement_in_the_readme_gives_every_group_its_rights_again(database_url: str) -> None:
    """After a restore that made the groups again, and where an administrator makes them after the migrations."""
    (statement,) = re.findall(r"^```sql\n(.+?)\n```$", SCHEMA_README.read_text(), re.MULTILINE | re.DOTALL)
    groups = ", ".join((*(f"vyris_{name}" for name in NAMES), "vyris_operator"))
    held = (
        "SELECT grantee, table_name, column_name, privilege_type FROM information_schema.column_privileges "
        "UNION SELECT grantee, table_name, NULL, privilege_type FROM information_schema.table_privileges "
        "ORDER BY 1, 2, 3, 4"
    )
    connection = await asyncpg.connect(database_url)
    before = await connection.fetch(held)
    await connection.execute(f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {groups}")
    assert await connection.fetch(held) != before
    for _ in range(2):  # granting again changes nothing
        await connection.execute(statement)
        assert await connection.fetch(held) == before
    await connection.close()


async def test_an_owner_who_may_not_create_roles_still_migrates(database_url: str) -> None:
    """Missing groups are skipped; an administrator creates them later and grants again."""
    connection = await asyncpg.connect(database_url)
    texts = [(MIGRATIONS / name).read_text() for name in ("0006_roles.sql", "0007_least_grants.sql")]
    up = "".join(text.split("-- migrate:up")[1].split("-- migrate:down")[0] for text in texts)
    unknown = up.replace("vyris_", "absent_")
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute("CREATE ROLE plain_owner NOLOGIN; GRANT CREATE, USAGE ON SCHEMA public TO plain_owner")
        await connection.execute("DROP FUNCTION grant_service_roles()")
        await connection.execute("SET LOCAL ROLE plain_owner")
        await connection.execute(unknown)
        assert await connection.fetchval("SELECT count(*) FROM pg_roles WHERE rolname LIKE 'absent%'") == 0
    finally:
        await transaction.rollback()
        await connection.close()
