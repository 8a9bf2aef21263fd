"""`vyris drop`: opening times can change, the audit log names who changed them, and each supply is shown by itself."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime, timedelta

import pytest

from admin.drops import NewDrop, create_drop
from tests.commands import run_vyris
from tests.stand_ins.mint_engine import Mint, MintMaker
from vyris.errors import DropNotOpen


@pytest.fixture
async def mint(make_mint: MintMaker) -> Mint:
    return await make_mint(capacity=5)


def vyris(database_url: str, mint: Mint, *arguments: str) -> subprocess.CompletedProcess[str]:
    command, *options = arguments
    return run_vyris({"DATABASE_URL": database_url}, "drop", command, mint.drop.tier, mint.drop.year, *options)


async def test_a_drop_is_closed_at_once_and_opened_again(mint: Mint, database_url: str) -> None:
    membership, _ = await mint.mint("before")
    closed = vyris(database_url, mint, "close", "--reason", "too many were sold")
    assert closed.returncode == 0, closed.stderr
    with pytest.raises(DropNotOpen) as refusal:
        await mint.mint("meanwhile")
    assert not refusal.value.retryable
    assert await mint.mint("before") == (membership, True)
    assert vyris(database_url, mint, "schedule", "--reason", "it was a mistake").returncode == 0
    assert not (await mint.mint("meanwhile"))[1]
    rows = await mint.database.fetch("SELECT action, subject, reason FROM audit_log ORDER BY id")
    name = f"{mint.drop.tier} {mint.drop.year}"
    assert [tuple(row) for row in rows] == [
        ("drop.close", name, "too many were sold"),
        ("drop.schedule", name, "it was a mistake"),
    ]


async def test_a_drop_opens_later(mint: Mint, database_url: str) -> None:
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%S")
    assert vyris(database_url, mint, "schedule", "--opens-at", tomorrow, "--reason", "late").returncode == 0
    with pytest.raises(DropNotOpen) as refusal:
        await mint.mint("early")
    assert refusal.value.retryable
    assert vyris(database_url, mint, "close", "--reason", "never mind").returncode == 0
    with pytest.raises(DropNotOpen) as refusal:
        await mint.mint("early")
    assert not refusal.value.retryable


async def test_an_end_before_the_beginning_is_refused(mint: Mint, database_url: str) -> None:
    times = ["--opens-at", "2030-01-02", "--closes-at", "2030-01-01"]
    refused = vyris(database_url, mint, "schedule", *times, "--reason", "typing")
    assert refused.returncode == 1
    assert "--opens-at must be before --closes-at" in refused.stderr
    assert not (await mint.mint("still open"))[1]


@pytest.mark.parametrize("moment", ["2030-01-02T23:00:00-05:00", "2030-01-03T04:00:00Z", "2030-01-03 04:00:00"])
async def test_a_moment_is_utc_or_says_its_offset(mint: Mint, database_url: str, moment: str) -> None:
    done = vyris(database_url, mint, "schedule", "--opens-at", moment, "--closes-at", "2030-01-04", "--reason", "r")
    assert done.returncode == 0, done.stderr
    opens_at = await mint.value("SELECT opens_at FROM drops WHERE id = $1", mint.drop.id)
    assert opens_at == datetime(2030, 1, 3, 4, tzinfo=UTC)


@pytest.mark.parametrize("moment", ["tomorrow", "1764547200", "2030-13-01"])
async def test_text_that_is_no_time_is_refused(mint: Mint, database_url: str, moment: str) -> None:
    done = vyris(database_url, mint, "schedule", "--opens-at", moment, "--reason", "r")
    assert done.returncode == 2
    assert "2026-12-01T19:00:00" in done.stderr


async def test_a_drop_and_its_supply_for_test_purchases_are_shown_one_at_a_time(mint: Mint, database_url: str) -> None:
    sandbox = NewDrop(mint.drop.tier, mint.drop.year, 2, "sandbox")
    await mint.database.in_transaction(lambda connection: create_drop(connection, sandbox))
    shown = [json.loads(vyris(database_url, mint, "show", "--json", *more).stdout) for more in ((), ("--sandbox",))]
    assert [(one["environment"], one["capacity"]) for one in shown] == [("production", 5), ("sandbox", 2)]
