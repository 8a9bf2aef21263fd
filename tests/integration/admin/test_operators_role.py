"""An operator's login may run every statement of `admin`, and no service's login may run all of them."""

from __future__ import annotations

import asyncpg
import pytest

from admin.statements import QUERIES
from suite import NAMES

# Postgres explains no LOCK.
EXPLAINED = {name: text for name, text in QUERIES._statements.items() if name != "lock_encounters"}


async def refused_statements(database_url: str, role: str) -> list[str]:
    """The statements that the role may not run. Postgres checks the rights when it explains one."""
    connection = await asyncpg.connect(database_url, server_settings={"role": role})
    names = []
    for name, statement in EXPLAINED.items():
        try:
            await connection.execute(f"EXPLAIN (GENERIC_PLAN) {statement}")
        except asyncpg.InsufficientPrivilegeError:
            names.append(name)
    await connection.close()
    return names


async def test_an_operator_may_run_every_statement(database_url: str) -> None:
    assert await refused_statements(database_url, "vyris_operator") == []


@pytest.mark.parametrize("service", NAMES)
async def test_no_service_may_erase_a_person(database_url: str, service: str) -> None:
    erasure = [name for name in EXPLAINED if name.startswith(("forget_", "unname_"))]
    assert len(erasure) > 5
    assert set(await refused_statements(database_url, f"vyris_{service}")) & set(erasure)
