"""The metrics of a hundred thousand users are as many as those of ten: no label names a person, a receipt or a path."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import httpx

from stack.local import Stack
from tests.acceptance.mint.conftest import MakeDrop
from tests.plain_http import NO_TLS

USERS = 100


async def series(stack: Stack, http: httpx.AsyncClient) -> set[str]:
    """Every series that a scrape of all processes returns."""
    ports = [port for name, port in stack.listens.items() if name.endswith("_metrics")]
    pages = await asyncio.gather(*(http.get(f"http://127.0.0.1:{port}/metrics") for port in ports))
    assert len(pages) > 5
    return {line.rpartition(" ")[0] for page in pages for line in page.text.splitlines() if not line.startswith("#")}


async def act(http: httpx.AsyncClient, url: str, drop: dict[str, str], mark: str) -> None:
    """Mint, replay, and ask for what is there and what is not."""
    receipt = {"receipt_data": f"receipt-{mark}", "user_id": f"user-{mark}", **drop}
    for _ in range(2):
        await http.post(f"{url}/mint", json=receipt)
    await http.post(f"{url}/mint", json={**receipt, "tier": f"tier-{mark}"})
    for path in (
        f"drops/{mark}/2025",
        f"holds/{uuid4()}",
        f"entries/{uuid4()}",
        f"{mark}/{mark}",
        f"drops/{mark}/2025/draw",
    ):
        await http.get(f"{url}/{path}", headers={"x-request-id": mark, "user-agent": mark})


async def test_series_do_not_grow_with_users(stack: Stack, make_drop: MakeDrop) -> None:
    drop = await make_drop(USERS)
    async with httpx.AsyncClient(verify=NO_TLS, timeout=30) as http:
        await asyncio.gather(*(act(http, stack.gateway_url, drop, f"early{n}") for n in range(5)))
        await series(stack, http)  # the first scrape adds series about scrapes
        before = await series(stack, http)
        marks = [f"late{n}" for n in range(USERS)]
        for first in range(0, USERS, 20):
            await asyncio.gather(*(act(http, stack.gateway_url, drop, mark) for mark in marks[first : first + 20]))
        new = await series(stack, http) - before
    # A histogram adds some fifteen series when it first counts; a label for each user would add one for each.
    assert len(new) < USERS, sorted(new)[:40]
    assert not [line for line in new for mark in ("late", "user-") if mark in line]
