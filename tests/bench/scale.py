"""Suites over databases of different sizes, side by side on one Postgres and one Redis."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from schema.migrate import migrate
from stack.local import Stack
from stack.ports import PortTaker
from stack.settings import StackSettings
from tests.bench import sql
from tests.bench.arena import stack_processes
from tests.bench.background import system_environment
from tests.bench.drops import BenchDrop, create_suite_drop
from tests.bench.rounds import Progress
from tests.bench.subject import Subject
from tests.fresh_database import with_database

# Small enough that all of them together stay below the server's limit.
POOL_SIZE = "4"
OLD_DROP = "INSERT INTO drops (tier, year, capacity) VALUES ('old', '2024', $1) RETURNING id"
# A ledger of receipts that were fulfilled long ago, each with its membership.
OLD_RECEIPTS = """
INSERT INTO receipt_ledger (receipt_key, state, drop_id, user_id, kind)
SELECT sha256(int8send(n)) AS key, 'FULFILLED', $1, 'old-' || n, 'opaque' FROM generate_series(1, $2::int) AS n
ORDER BY key
"""
OLD_MEMBERSHIPS = """
INSERT INTO memberships (id, drop_id, sequence_num, user_id, receipt_key, pass_serial)
SELECT uuidv7(), $1, n, 'old-' || n, sha256(int8send(n)), uuidv7()
FROM generate_series(1, $2::int) AS n
"""

AT_WORK = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'autovacuum worker'"
SETTLE_LIMIT_S = 300


@dataclass(frozen=True)
class Scaled:
    """A suite with `size` receipts in its ledger, and pools of the same size."""

    size: int
    stack: Stack
    subject: Subject

    @property
    def exponent(self) -> int:
        """Of ten."""
        return len(str(self.size)) - 1

    def create_pool(self, name: str) -> str:
        """A drop of `size` slots; its tier."""
        # Redis is shared, so the tier contains the suite's name.
        drop = BenchDrop(f"grow-{self.exponent}-{name}", self.size)
        create_suite_drop(self.stack, drop)
        return drop.tier


@contextmanager
def scaled_suites(base: Stack, folder: Path, sizes: tuple[int, ...], on_progress: Progress) -> Iterator[list[Scaled]]:
    """One suite for each size, on the databases of `base`."""
    with ExitStack() as parts:
        suites = []
        for size in sizes:
            url = _database(base, size)
            on_progress(f"a ledger of {size} receipts is there")
            stack = parts.enter_context(Stack(_settings(base, folder, url, size), _environment(base), directory=folder))
            subject = Subject(f"{size}", stack.gateway_url, stack_processes(stack, base), database_url=url)
            suites.append(Scaled(size, stack, subject))
        yield suites


def settle(base: Stack) -> None:
    """Wait until the loaded rows are on disk and vacuumed, because writing gigabytes slows down every flush."""
    sql.fetch(base.database_url, "CHECKPOINT")
    os.sync()
    until_s = time.monotonic() + SETTLE_LIMIT_S
    while sql.value(base.database_url, AT_WORK) and time.monotonic() < until_s:
        time.sleep(1)


def _database(base: Stack, size: int) -> str:
    name = f"scale_{size}"
    sql.fetch(base.database_url, f"CREATE DATABASE {name}")
    url = with_database(base.database_url, name)
    migrate(url)
    drop_id = sql.value(url, OLD_DROP, size)
    sql.fetch(url, OLD_RECEIPTS, drop_id, size)
    sql.fetch(url, OLD_MEMBERSHIPS, drop_id, size)
    sql.fetch(url, "INSERT INTO drop_tallies (drop_id, writer, taken) VALUES ($1, 0, $2)", drop_id, size)
    sql.fetch(url, "VACUUM ANALYZE")
    return url


def _settings(base: Stack, folder: Path, database_url: str, size: int) -> StackSettings:
    ports = PortTaker(set(base.settings.fixed_ports().values()))
    moved = {name.lower(): ports.free_port() for name in base.settings.fixed_ports()}
    return base.settings.model_copy(
        update={
            **moved,
            "vyris_state_dir": folder / f"scale-{size}",
            "database_url": database_url,
            "redis_url": base.redis_url,
        }
    )


def _environment(base: Stack) -> dict[str, str]:
    return {**system_environment(), "POSTGRES_POOL_SIZE": POOL_SIZE}
