"""Every mint replica is replaced under load, and no buyer notices.

The client does what the contract says: what could not be delivered, or was answered `retryable`, is sent again.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from stack.local import Stack

BUYERS = 8
RETRIES_LIMIT = 5


@pytest.fixture(scope="module")
def two_mints(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    state: Path = tmp_path_factory.mktemp("rolling") / "state"
    environment = {"DROP_CAPACITY": "100000", "DRAIN_DELAY_MS": "4000"}
    with Stack.isolated(state, mint_replicas=2, environment=environment) as running:
        yield running


class Load:
    """Buyers who mint one after the other, and what they were told in the end."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.answers: Counter[int] = Counter()
        self.retries: Counter[str] = Counter()
        self.numbers: list[int] = []
        self.over = False

    async def buyer(self, name: int) -> None:
        async with httpx.AsyncClient(base_url=self._url, timeout=20) as client:
            for purchase in range(100_000):
                if self.over:
                    return
                status = await self._buy(client, f"buyer {name} purchase {purchase}")
                self.answers[status] += 1

    async def _buy(self, client: httpx.AsyncClient, receipt: str) -> int:
        status = 0
        for _ in range(RETRIES_LIMIT):
            try:
                answer = await client.post("/mint", json={"receipt_data": receipt, "user_id": "buyer"})
            except httpx.TransportError as error:
                self.retries[type(error).__name__] += 1
                await asyncio.sleep(0.2)
                continue
            status = answer.status_code
            if status == 201:
                self.numbers.append(answer.json()["membership"]["sequence_num"])
                return status
            if not answer.json()["retryable"]:
                return status
            self.retries[str(status)] += 1
            await asyncio.sleep(0.2)
        return status


async def test_replacing_every_mint_under_load_fails_no_request(two_mints: Stack) -> None:
    load = Load(f"http://127.0.0.1:{two_mints.settings.gateway_port}")
    buyers = [asyncio.create_task(load.buyer(name)) for name in range(BUYERS)]
    try:
        for replica in ("mint", "mint-2"):
            await asyncio.sleep(2)
            before = sum(load.answers.values())
            await asyncio.to_thread(two_mints.stop_process, replica)
            await asyncio.sleep(1)
            assert sum(load.answers.values()) > before  # the other one goes on serving
            await asyncio.to_thread(two_mints.start_process, replica)
        await asyncio.sleep(3)
    finally:
        load.over = True
        await asyncio.gather(*buyers)
    assert set(load.answers) == {201}, (load.answers, load.retries)
    assert load.answers[201] > 100
    assert len(set(load.numbers)) == len(load.numbers) == load.answers[201]
    # What had to be sent again could not be delivered: no answer is ever unknown during a polite stop.
    assert not {"500", "504"} & load.retries.keys(), load.retries
