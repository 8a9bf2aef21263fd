"""A process that is killed anywhere between the close and the offers leaves a draw that the next one finishes, once."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path

from services.draw import maths
from tests.integration.draw.conftest import OpenNight
from tests.shell import REPOSITORY

BEFORE_THE_ROUND = ("draw.closed", "draw.counting", "draw.counted", "draw.publishing", "draw.published", "draw.shown")
AFTER_THE_ROUND = ("draw.ranked", "draw.drawing", "draw.drawn")
WAVE = ("draw.offering", "draw.offered")


async def test_killed_at_every_point_it_has_one_result(
    open_night: OpenNight, database_url: str, tmp_path: Path
) -> None:
    night = await open_night(capacity=3)
    entries = [await night.enter(f"u{n}") for n in range(12)]
    faults = tmp_path / "failpoints.json"

    processes = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.integration.draw.led_process",
        database_url,
        str(faults),
        cwd=REPOSITORY,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    asks, answers = processes.stdin, processes.stdout
    assert asks is not None
    assert answers is not None

    async def killed(point: str) -> None:
        faults.write_text(json.dumps({point: {"action": "kill"}}))
        asks.write(b"\n")
        assert int(await answers.readline()) == -signal.SIGKILL, point

    await night.shift()
    for point in BEFORE_THE_ROUND:
        await killed(point)
    committed = await night.document()
    assert (committed.state, committed.entries, len(committed.refused)) == ("COMMITTED", 12, 0)
    await night.give_round()
    for point in AFTER_THE_ROUND:
        await killed(point)
    drawn = await night.document()
    order = maths.ranked(bytes.fromhex(drawn.seed), [entry.leaf_hash for entry in entries])
    users = {entry.leaf_hash: f"u{n}" for n, entry in enumerate(entries)}
    numbers = maths.ordered_numbers(bytes.fromhex(drawn.seed), [1, 2, 3])
    assert await night.offered() == [(n + 1, numbers[n], users[order[n]], "HELD") for n in range(3)]
    assert drawn.entries_root == committed.entries_root

    await night.expire(users[order[1]])
    for point in WAVE:
        await killed(point)
    assert [(rank, user) for rank, _, user, _ in await night.offered()][3:] == [(4, users[order[3]])]
    await night.check_sum()
    asks.close()
    assert await processes.wait() == 0
