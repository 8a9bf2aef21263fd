"""GET /drops/{tier}/{year}: one answer for all callers, cached for a moment."""

from __future__ import annotations

import asyncio
import re
import time

import asyncpg
import httpx
import pytest

from stack.local import Stack
from tests.acceptance.mint.conftest import make_drop

__all__ = ["make_drop"]
MINTS = ("mint", "mint-2")
GET_DROP_CALLS = re.compile(r'^vyris_rpc_seconds_count\{[^}]*method="[^"]*/GetDrop"[^}]*\} (\S+)$', re.MULTILINE)
WORKERS_LIMIT, CROWD = 4, 32
POLLS, MORE_THAN_A_REFRESH_S = 200, 1.6
CACHE_CONTROL = "public, max-age=1, stale-while-revalidate=5"


@pytest.fixture
async def client(stack: Stack) -> httpx.AsyncClient:
    async with httpx.AsyncClient(base_url=stack.gateway_url, timeout=15) as opened:
        yield opened


async def get_drop_calls(stack: Stack, client: httpx.AsyncClient) -> float:
    """How many calls of GetDrop the services have answered."""
    texts = [await client.get(f"http://127.0.0.1:{stack.listens[f'{mint}_metrics']}/metrics") for mint in MINTS]
    return sum(float(count) for text in texts for count in GET_DROP_CALLS.findall(text.text))


async def test_caches_may_keep_it_for_a_second_and_ask_whether_it_changed(client: httpx.AsyncClient, make_drop) -> None:
    drop = await make_drop(3)
    path = f"/drops/{drop['tier']}/{drop['year']}"
    for _ in range(3):  # from the service, and from the cache
        answer = await client.get(path)
        assert (answer.status_code, answer.headers["cache-control"]) == (200, CACHE_CONTROL)
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.json()["remaining"] == 3
        assert "x-vyris-kept" not in answer.headers
        etag = answer.headers["etag"]
        for tags in (etag, f'"other", W/{etag}', "*"):
            same = await client.get(path, headers={"if-none-match": tags})
            assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", etag)
            assert same.headers["cache-control"] == CACHE_CONTROL
        assert (await client.get(path, headers={"if-none-match": '"other"'})).status_code == 200
        await asyncio.sleep(0.3)


async def test_a_change_is_visible_within_a_second(client: httpx.AsyncClient, make_drop) -> None:
    drop = await make_drop(3)
    path = f"/drops/{drop['tier']}/{drop['year']}"
    before = await client.get(path)
    minted = await client.post("/mint", json={"receipt_data": f"r {drop['year']}", "user_id": "ada", **drop})
    assert minted.status_code == 201
    since_s = time.monotonic()
    while (await client.get(path)).json()["minted"] == 0:
        assert time.monotonic() - since_s < 1.3  # a second, and the time of this poll
        await asyncio.sleep(0.02)
    after = await client.get(path, headers={"if-none-match": before.headers["etag"]})
    assert after.status_code == 200


async def test_an_unknown_drop_is_not_kept(client: httpx.AsyncClient) -> None:
    for _ in range(2):
        answer = await client.get("/drops/nowhere/2025")
        assert (answer.status_code, answer.headers["cache-control"]) == (404, "no-store")
        assert "etag" not in answer.headers


async def test_a_crowd_costs_postgres_no_statement_each(stack: Stack, client: httpx.AsyncClient, make_drop) -> None:
    drop = await make_drop(3)
    connection = await asyncpg.connect(stack.database_url)
    statistics = "SELECT sum(xact_commit) FROM pg_stat_database WHERE datname = current_database()"
    await client.get(f"/drops/{drop['tier']}/{drop['year']}")
    before = await connection.fetchval(statistics)
    for _ in range(400):
        await client.get(f"/drops/{drop['tier']}/{drop['year']}")
    assert await connection.fetchval(statistics) - before < 300
    await connection.close()


async def test_a_query_does_not_lead_past_the_cache(stack: Stack, client: httpx.AsyncClient, make_drop) -> None:
    drop = await make_drop(3)
    path = f"/drops/{drop['tier']}/{drop['year']}"
    etag = (await client.get(path)).headers["etag"]
    before = await get_drop_calls(stack, client)
    since_s = time.monotonic()
    for number in range(200):
        answer = await client.get(f"{path}?_={number}&tier=other")
        assert (answer.status_code, answer.headers["etag"]) == (200, etag)
        assert answer.headers["cache-control"] == CACHE_CONTROL
    assert await get_drop_calls(stack, client) - before <= WORKERS_LIMIT * (2 + 6 * (time.monotonic() - since_s))
    for query in ("?_=1", "?environment=production"):
        for _ in range(3):
            same = await client.get(path + query, headers={"if-none-match": etag})
            assert (same.status_code, same.content, same.headers["cache-control"]) == (304, b"", CACHE_CONTROL)


async def test_supplies_of_one_drop_are_cached_apart(client: httpx.AsyncClient, make_drop) -> None:
    drop = await make_drop(3)
    path = f"/drops/{drop['tier']}/{drop['year']}"
    for _ in range(3):
        assert (await client.get(path)).status_code == 200
        assert (await client.get(f"{path}?environment=sandbox")).status_code == 404


async def test_a_refresh_costs_the_service_one_request_and_the_crowd_gets_the_last_answer(
    stack: Stack, client: httpx.AsyncClient, make_drop
) -> None:
    drop = await make_drop(3)
    path = f"/drops/{drop['tier']}/{drop['year']}"
    await client.get(path)
    before, began_s = await get_drop_calls(stack, client), time.monotonic()
    polls = 0

    async def poll() -> None:
        nonlocal polls
        while polls < POLLS or time.monotonic() < began_s + MORE_THAN_A_REFRESH_S:
            assert (await client.get(path)).status_code == 200
            polls += 1

    await asyncio.gather(*(poll() for _ in range(CROWD)))
    took_s = time.monotonic() - began_s
    # At first all may ask the service; then each worker of the gateway asks it three times a second.
    assert await get_drop_calls(stack, client) - before <= CROWD + 3 * (took_s + 1) * WORKERS_LIMIT
