"""`vyris bouncer`: compare Redis' counts with Postgres."""

from __future__ import annotations

import typer

from admin.bouncer import read_counts, rebuild_counts
from cli import backends
from cli.actor import BY_COMMAND, OptionalReason, operator
from cli.console import AsJson, err, fail, run_async, show

app = typer.Typer(no_args_is_help=True, help="Compare Redis' counts of unclaimed slots with Postgres.")


@app.command("show")
@run_async
async def show_counts(as_json: AsJson = False) -> None:
    """Show every drop's count in Redis, in Postgres, and their difference."""
    async with backends.database() as database, backends.bouncer() as bouncer:
        if not await bouncer.reachable():
            fail(backends.why_redis_failed())
        rows = await read_counts(database, bouncer)
    show(
        rows,
        ("tier", "year", "environment", "redis", "postgres", "drift"),
        as_json=as_json,
        empty="There is no drop; `vyris drop create` makes one.",
    )


@app.command()
@run_async
async def rebuild(reason: OptionalReason = BY_COMMAND) -> None:
    """Overwrite every count in Redis by Postgres' number of unclaimed slots."""
    async with backends.database() as database, backends.bouncer() as bouncer:
        if not await bouncer.reachable():
            fail(backends.why_redis_failed())
        if not await rebuild_counts(database, bouncer, operator(reason)):
            fail(f"Not all counts were written. {backends.why_redis_failed()}")
    err.print("Redis' counts are Postgres' now.")
