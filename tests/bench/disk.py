"""What a million receipts leave on the disk: `python -m tests.bench.disk`.

Postgres mints by the mint's own statement, 64 receipts in a transaction, until a drop is sold out. Then each table is
measured with its indexes, before and after the autovacuum's work is done by hand.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from tests.bench import arena, sql
from tests.bench.database_limit import CLIENTS, mint_by_pgbench
from tests.bench.drops import BenchDrop, create_suite_drop
from tests.bench.subject import SUITE

TABLES = ("slots", "receipt_ledger", "memberships")
BATCH = 64
LIMIT_S = 3_600
MEGABYTE = 1e6

SIZES = """
SELECT relname, pg_table_size(oid) AS rows_bytes, pg_indexes_size(oid) AS indexes_bytes,
       coalesce((SELECT n_dead_tup FROM pg_stat_user_tables t WHERE t.relid = c.oid), 0) AS dead
FROM pg_class c WHERE relname = ANY ($1) AND relkind = 'r' ORDER BY array_position($1, relname)
"""
WAL = "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint"


@dataclass(frozen=True)
class Size:
    """A table on the disk."""

    name: str
    rows_bytes: int
    indexes_bytes: int
    dead: int


def read_sizes(url: str) -> list[Size]:
    """The tables that a mint writes."""
    return [Size(*row) for row in sql.fetch(url, SIZES, list(TABLES))]


def main() -> None:
    """Mint, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--receipts", type=int, default=1_000_000)
    receipts = parser.parse_args().receipts
    transactions = receipts // BATCH // CLIENTS
    minted = transactions * BATCH * CLIENTS
    with arena.running([SUITE]) as running:
        url = running.stack.database_url
        drop_id = create_suite_drop(running.stack, BenchDrop("disk", minted))
        stocked, wal = read_sizes(url), sql.value(url, WAL)
        rate = BATCH * mint_by_pgbench(url, drop_id, BATCH, transactions, LIMIT_S)
        wal = sql.value(url, WAL) - wal
        sold = read_sizes(url)
        began_s = time.monotonic()
        for name in TABLES:
            sql.fetch(url, f"VACUUM {name}")
        vacuum_s = time.monotonic() - began_s
        vacuumed = read_sizes(url)
    table = Table("MB a million receipts", "before", "sold: rows", "indexes", "dead rows", "vacuumed: rows", "indexes")
    scale = 1e6 / minted / MEGABYTE
    for before, full, clean in zip(stocked, sold, vacuumed, strict=True):
        table.add_row(
            full.name,
            f"{(before.rows_bytes + before.indexes_bytes) * scale:.0f}",
            f"{full.rows_bytes * scale:.0f}",
            f"{full.indexes_bytes * scale:.0f}",
            f"{full.dead:,}",
            f"{clean.rows_bytes * scale:.0f}",
            f"{clean.indexes_bytes * scale:.0f}",
        )
    Console(width=120).print(table)
    print(f"{minted:,} receipts, {rate:,.0f}/s; WAL {wal * scale:.0f} MB a million; VACUUM took {vacuum_s:.1f} s")


if __name__ == "__main__":
    main()
