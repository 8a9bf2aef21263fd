"""`python -m tests.hold_trials`: crowds in drops that sell by hold, over JSON and gRPC, with two mint processes."""

from __future__ import annotations

import asyncio
import random
import tempfile
from pathlib import Path
from typing import Annotated

import asyncpg
import typer
import uvloop

from stack.local import Stack
from tests.acceptance.holds.doors import grpc_door, json_door
from tests.hold_trials.trials import hoarders, last_numbers, moment_of_the_lapse, open_night

# Hoarders need time to take their holds on a slow machine; the holds of the other trials last longer than the trial.
GRACE_S, HOARDERS_TTL_S, LONG_TTL_S = 3.0, 40, 600
LAST, HOARDED = 10, 999


async def _run(stack: Stack, people: int, payers: int, hoarding: int, seed: int) -> int:
    failures = 0
    database = await asyncpg.connect(stack.database_url)
    rng = random.Random(seed)
    for door, opened in (("json", json_door(stack.gateway_url)), ("grpc", grpc_door(stack.gateway_grpc_target))):
        async with opened as ask:
            for name, capacity, hold_ttl_s, trial in (
                ("last-numbers", LAST, LONG_TTL_S, lambda night: last_numbers(night, people)),
                ("moment-of-the-lapse", payers, LONG_TTL_S, lambda night: moment_of_the_lapse(night, rng)),
                ("hoarders", HOARDED, HOARDERS_TTL_S, lambda night: hoarders(night, hoarding, hurry=False)),
            ):
                night = await open_night(
                    ask,
                    stack.database_url,
                    database,
                    f"{name}-{door}",
                    capacity,
                    grace_s=GRACE_S,
                    hold_ttl_s=hold_ttl_s,
                )
                try:
                    typer.echo(f"{door}: {await trial(night)}")
                except AssertionError as broken:
                    failures += 1
                    typer.echo(f"{door}: {name} FAILED: {broken}")
    await database.close()
    return failures


def main(
    people: Annotated[int, typer.Option(help="Who want the last ten numbers.")] = 5_000,
    payers: Annotated[int, typer.Option(help="Who pay in the moment of the lapse.")] = 200,
    hoarding: Annotated[int, typer.Option("--hoarders", help="Who take holds and never pay.")] = 2_000,
    seed: Annotated[int, typer.Option(help="Draws when people pay.")] = 1,
) -> None:
    """Run every trial over both doors, and exit with 1 where a promise broke. About three minutes."""
    with (
        tempfile.TemporaryDirectory(prefix="vyris-h-") as folder,
        Stack.isolated(
            Path(folder) / "state", replicas={"mint": 2}, environment={"HOLD_GRACE_S": f"{GRACE_S}"}
        ) as stack,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        failures = runner.run(_run(stack, people, payers, hoarding, seed))
    raise typer.Exit(bool(failures))


if __name__ == "__main__":
    typer.run(main)
