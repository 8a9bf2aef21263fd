"""The restore of docs/operations.md, step by step: to the moment before a mistake, with every promise made by then."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
import redis.asyncio as redis

from services.mint.bouncer import count_key
from services.mint.drops import Drop
from stack.local import DATABASES, Stack
from tests.chaos.checker import check
from tests.chaos.cluster import Cluster
from tests.chaos.drained import read_drained, wait_until_drained
from tests.chaos.history import FULFILLED, History, Operation
from tests.chaos.recorder import Sampler
from tests.integration.restore.archive import Archive
from vyris.client import AsyncClient
from vyris.mint.v1 import mint_pb2

CAPACITY = 120
STALE_COUNT = 7


@pytest.fixture(scope="module")
def sale(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    state: Path = tmp_path_factory.mktemp("restore") / "state"
    environment = {"DROP_CAPACITY": str(CAPACITY), "RECOUNT_INTERVAL_MS": "500"}
    with Stack.isolated(state, only={*DATABASES, "mint"}, environment=environment) as running:
        yield running


def run(stack: Stack, *arguments: str) -> str:
    """Run a module of the suite with the settings of the stack."""
    command = [sys.executable, "-m", *arguments]
    done = subprocess.run(command, env=dict(stack.service_environment), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


async def vyris(stack: Stack, *arguments: str) -> Any:
    return json.loads(await asyncio.to_thread(run, stack, "cli.main", *arguments, "--json"))


class Till:
    """Mints and records the answers."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self.history = History("restore")

    async def mint(self, receipts: list[str]) -> list[mint_pb2.MintResponse]:
        async with AsyncClient(self._stack.target("mint")) as client:
            return await asyncio.gather(*(self._mint(client, receipt) for receipt in receipts))

    async def _mint(self, client: AsyncClient, receipt: str) -> mint_pb2.MintResponse:
        began_s = time.monotonic()
        answer = await client.mint(receipt, f"buyer of {receipt}", email=f"{receipt}@restore.example")
        membership = answer.membership
        self.history.operations.append(
            Operation(
                kind="mint",
                subject=receipt,
                user=f"buyer of {receipt}",
                began_s=began_s,
                ended_s=time.monotonic(),
                outcome=FULFILLED,
                membership_id=membership.id,
                sequence_num=membership.sequence_num,
                pass_serial=membership.pass_serial,
                replayed=answer.replayed,
            )
        )
        return answer


async def mistake(stack: Stack) -> None:
    """Delete all memberships, as a mistake in the database could."""
    connection = await asyncpg.connect(stack.database_url)
    await connection.execute("SET session_replication_role = replica")
    await connection.execute("DELETE FROM memberships; DELETE FROM receipt_ledger; DELETE FROM contacts")
    await connection.close()


async def test_a_restore_to_a_moment_keeps_every_promise_made_by_then(sale: Stack) -> None:
    till, archive = Till(sale), Archive(sale)
    await archive.begin()
    await asyncio.to_thread(sale.wait_ready, ["mint"])
    before_backup = [f"before-backup-{number}" for number in range(30)]
    answers = await till.mint(before_backup)
    await archive.back_up()
    after_backup = [f"after-backup-{number}" for number in range(30)]
    answers += await till.mint(after_backup)
    moment = await archive.now()
    kept = History("restore", operations=list(till.history.operations))
    lost = [f"lost-{number}" for number in range(10)]
    await till.mint(lost)
    await mistake(sale)
    await archive.keep_up()

    # 1 and 2: no caller gets answers from two histories.
    await asyncio.to_thread(sale.stop_process, "mint")
    await archive.restore(moment)
    # 3
    await asyncio.to_thread(run, sale, "schema", "migrate")
    # 4: Redis still has a count of the lost history.
    drop = await _drop(sale)
    async with redis.from_url(sale.redis_url) as counts:
        await counts.set(count_key(drop.tier, drop.year, drop.environment), STALE_COUNT)
    assert (await vyris(sale, "bouncer", "show"))[0]["drift"] == STALE_COUNT - (CAPACITY - 60)
    await asyncio.to_thread(sale.start_process, "mint")
    cluster = Cluster(sale, {})
    sampler = Sampler(cluster, drop, kept)
    drift_zero_after_s = await wait_until_drained(cluster, sampler, drop)
    assert (await vyris(sale, "bouncer", "show"))[0]["drift"] == 0
    # 5
    shown = await vyris(sale, "drop", "show", "genesis", "2025")
    assert (shown["live_memberships"], shown["slots_counted"]) == (60, CAPACITY - 60)
    audited = await _read_audit(sale)
    assert (audited["vyris_memberships_over_capacity"], audited["vyris_slots_unaccounted"]) == (0, 0)
    # 6: known receipts replay exactly; those of the lost minutes are sent again and mint.
    till.history = kept
    for old, new in zip(answers, await till.mint(before_backup + after_backup), strict=True):
        assert new.replayed
        assert new.membership == old.membership
    assert not any(answer.replayed for answer in await till.mint(lost))
    # All rules of the contract, over the answers before and after the restore.
    last = await sampler.once()
    kept.drained = await read_drained(
        cluster,
        drop,
        CAPACITY,
        [*before_backup, *after_backup, *lost],
        unsettled=(),
        serving_after_s=0.0,
        drift_zero_after_s=drift_zero_after_s,
        redis_count=last.redis,
    )
    assert check(kept) == []


async def _drop(stack: Stack) -> Drop:
    connection = await asyncpg.connect(stack.database_url)
    row = await connection.fetchrow("SELECT id, tier, year, environment FROM drops")
    await connection.close()
    return Drop(row["id"], row["tier"], row["year"], row["environment"])


async def _read_audit(stack: Stack) -> dict[str, float]:
    """The result of mint's audit, by metric."""
    url = f"http://127.0.0.1:{stack.listens['mint_metrics']}/metrics"
    async with httpx.AsyncClient(trust_env=False) as client, asyncio.timeout(40):
        while True:
            lines = (await client.get(url)).text.splitlines()
            found = {
                line.partition("{")[0]: float(line.rpartition(" ")[2]) for line in lines if 'tier="genesis"' in line
            }
            if "vyris_slots_unaccounted" in found:
                return found
            await asyncio.sleep(0.1)
