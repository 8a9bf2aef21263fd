"""Each column that can hold a person's data has a decision, and the decision is carried out."""

from __future__ import annotations

import re
from pathlib import Path

import asyncpg

TABLE = Path(__file__).resolve().parents[3] / "schema" / "personal-data.md"
DECISIONS = {"deleted", "replaced", "later", "redacted", "kept"}
# Types that can hold a name: all forms of text, bytes, documents, arrays and network addresses.
HOLDS_NAMES = """
    SELECT c.table_name || '.' || c.column_name FROM information_schema.columns c
    JOIN information_schema.tables t USING (table_schema, table_name)
    WHERE c.table_schema = 'public' AND t.table_type = 'BASE TABLE' AND c.table_name <> 'schema_migrations'
      AND c.data_type NOT IN ('uuid', 'bigint', 'integer', 'smallint', 'boolean', 'timestamp with time zone')
      AND c.udt_name <> 'xid8'
      AND NOT EXISTS (SELECT FROM pg_type WHERE typname = c.udt_name AND typtype = 'e')
"""


def decisions() -> dict[str, str]:
    rows = re.findall(r"^\| `([a-z_]+\.[a-z_]+)` \| ([a-z]+) \|", TABLE.read_text(), re.MULTILINE)
    assert len(rows) == len(dict(rows)), "a column is decided twice"
    return dict(rows)


async def test_every_column_that_can_name_a_person_has_a_decision(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    columns = {row[0] for row in await connection.fetch(HOLDS_NAMES)}
    await connection.close()
    decided = decisions()
    assert columns - set(decided) == set(), "decide in schema/personal-data.md what an erasure does with these"
    assert set(decided) - columns == set(), "schema/personal-data.md names columns that are not there"
    assert set(decided.values()) <= DECISIONS
