"""Many runs on one stack. Results are appended to a file: campaigns resume and add up."""

from __future__ import annotations

import asyncio
import json
import random
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from stack.local import Stack
from tests.chaos.cluster import isolated_stack, proxied
from tests.chaos.history import History
from tests.chaos.run import PACE_S, RunResult, run_once
from tests.chaos.schedule import PlannedFault, drawn_faults

Report = Callable[[RunResult], None]


class Results:
    """The results of a campaign in a folder: `results.jsonl`, and each failing run with its history."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "results.jsonl"

    def read(self) -> list[RunResult]:
        """All results so far."""
        if not self.file.exists():
            return []
        return [RunResult(**json.loads(line)) for line in self.file.read_text(encoding="utf-8").splitlines()]

    def add(self, result: RunResult, history: History) -> None:
        """Append a result; the history of a failing run is kept beside it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(result)) + "\n")
        if result.violations:
            history.save(self.folder / f"failed-seed-{result.seed}.jsonl")


@contextmanager
def campaign_stack(state_dir: Path | None = None) -> Iterator[Stack]:
    """A running stack for campaigns, by default in a temporary folder."""
    with (
        tempfile.TemporaryDirectory(prefix="vyris-chaos-") as folder,
        isolated_stack(state_dir or Path(folder) / "state") as stack,
    ):
        yield stack


def run_seeds(
    stack: Stack,
    seeds: Iterable[int],
    results: Results | None,
    report: Report,
    *,
    capacity_limit: int,
    mint_argv: Mapping[str, Iterable[str]] | None = None,
    kinds: tuple[str, ...] = (),
    all_along: bool = False,
    sale: str | None = None,
) -> list[RunResult]:
    """Run each seed on a started stack. `kinds`: these faults instead of those that the seed draws."""

    def chosen(_: int, rng: random.Random) -> list[PlannedFault]:
        if all_along:
            return [PlannedFault(kind, 0.1, PACE_S) for kind in kinds]
        return [PlannedFault(kind, rng.uniform(0.5, 2.5), rng.uniform(1.0, 2.2)) for kind in kinds]

    async def campaign() -> list[RunResult]:
        done = []
        async with proxied(stack, mint_argv) as cluster:
            for seed in seeds:
                draw_faults = chosen if kinds else drawn_faults
                result, history = await run_once(
                    cluster, seed, capacity_limit=capacity_limit, draw_faults=draw_faults, sale=sale
                )
                if results is not None:
                    results.add(result, history)
                report(result)
                done.append(result)
        return done

    return asyncio.run(campaign())
