"""No two advisory locks share a key, all are taken through the registry, and each excludes the right transactions."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import asyncpg
import pytest

from services.data.storage import locks
from services.data.storage.locks import LockClass, LockKey, try_lock, wait_for_hashed_locks, wait_for_key, wait_for_lock

REPOSITORY = Path(__file__).resolve().parents[4]
KEYS = {name: key for name, key in vars(locks).items() if isinstance(key, LockKey)}


def test_no_two_locks_share_a_key() -> None:
    # `LockClass` is an enum of unique numbers: two names of one number do not import.
    assert len(KEYS) >= 2
    for name, key in KEYS.items():
        for other_name, other in KEYS.items():
            if name < other_name:
                assert key.seed != other.seed or not _may_be_one_text(key.prefix, other.prefix), (name, other_name)


def _may_be_one_text(prefix: str, other: str) -> bool:
    """Whether a text can begin with both prefixes."""
    return prefix.startswith(other) or other.startswith(prefix)


def test_released_lock_keys_never_change() -> None:
    assert {lock.name: int(lock) for lock in LockClass} | KEYS == {
        "MINT_RECOUNT": 0x56595231,
        "MINT_REAPER": 0x56595232,
        "ENCOUNTER_RETENTION": 0x56595233,
        "MINT_RETURNS": 0x56595234,
        "MINT_LAPSES": 0x56595235,
        "MINT_DRAWS": 0x56595236,
        "WALLET_MEMBERSHIP": 0x77616C6C,
        "MINT_PURCHASE": LockKey("", 0x5659523),
        "REFORGE_MEMBERSHIP": LockKey("vyris.reforge:", 0),
    }


def test_the_schemas_readme_lists_every_lock() -> None:
    text = (REPOSITORY / "schema" / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `([A-Z_]+)` \|", text, re.MULTILINE)) == {lock.name for lock in LockClass} | set(KEYS)


def test_no_other_code_takes_an_advisory_lock() -> None:
    taking = {
        str(path.relative_to(REPOSITORY))
        for folder in ("admin", "cli", "deploy", "gateway", "services", "stack", "schema")
        for pattern in ("*.py", "*.sql")
        for path in (REPOSITORY / folder).rglob(pattern)
        if "pg_advisory" in (text := path.read_text(encoding="utf-8")) or "pg_try_advisory" in text
    }
    assert taking == {"services/data/storage/queries.sql"}


async def test_a_lock_is_held_to_the_end_of_its_transaction(database_url: str) -> None:
    one, other = await asyncpg.connect(database_url), await asyncpg.connect(database_url)
    await other.execute("SET lock_timeout = '50ms'")
    async with one.transaction():
        await wait_for_lock(one, LockClass.MINT_RECOUNT, 7)  # type: ignore[arg-type]
        async with other.transaction():
            assert not await try_lock(other, LockClass.MINT_RECOUNT, 7)  # type: ignore[arg-type]
            assert await try_lock(other, LockClass.MINT_RECOUNT, 8)  # type: ignore[arg-type]
            assert await try_lock(other, LockClass.MINT_REAPER, 7)  # type: ignore[arg-type]
        with pytest.raises(asyncpg.LockNotAvailableError):
            await wait_for_lock(other, LockClass.MINT_RECOUNT, 7)  # type: ignore[arg-type]
    assert await try_lock(other, LockClass.MINT_RECOUNT, 7)  # type: ignore[arg-type]
    await one.close()
    await other.close()


@pytest.mark.parametrize("name", KEYS)
async def test_a_key_locks_its_text_alone(name: str, database_url: str) -> None:
    one, other = await asyncpg.connect(database_url), await asyncpg.connect(database_url)
    await other.execute("SET lock_timeout = '50ms'")
    async with one.transaction():
        await wait_for_key(one, KEYS[name], "a")  # type: ignore[arg-type]
        await wait_for_key(other, KEYS[name], "b")  # type: ignore[arg-type]
        with pytest.raises(asyncpg.LockNotAvailableError):
            await wait_for_key(other, KEYS[name], "a")  # type: ignore[arg-type]
    await one.close()
    await other.close()


async def test_several_objects_are_locked_in_one_order(database_url: str) -> None:
    """Two transactions that took the same locks in two orders would wait for each other."""
    one, other = await asyncpg.connect(database_url), await asyncpg.connect(database_url)
    async with other.transaction():
        first = one.transaction()
        await first.start()
        await wait_for_hashed_locks(one, LockClass.WALLET_MEMBERSHIP, ["b"])  # type: ignore[arg-type]
        both = wait_for_hashed_locks(other, LockClass.WALLET_MEMBERSHIP, ["b", "a"])  # type: ignore[arg-type]
        waiting = asyncio.create_task(both)
        # It has "a" and waits for "b".
        asked = "SELECT granted FROM pg_locks WHERE locktype = 'advisory' AND pid = $1 ORDER BY granted"
        async with asyncio.timeout(10):
            while [row[0] for row in await one.fetch(asked, other.get_server_pid())] != [False, True]:
                await asyncio.sleep(0.01)
        await first.rollback()
        await waiting
    await one.close()
    await other.close()
