"""`vyris bouncer`: what Redis believes, beside what Postgres knows."""

from __future__ import annotations

import typer

from cli import backends
from cli.actor import BY_COMMAND, OptionalReason, operator
from cli.console import AsJson, err, fail, run_async, show
from services.audit_log import audited
from services.mint.bouncer import count_key
from services.mint.recount import DROPS_LIMIT, Recounter
from services.mint.statements import QUERIES

app = typer.Typer(no_args_is_help=True, help="What Redis believes is for sale, beside what Postgres knows.")


@app.command("show")
@run_async
async def show_counts(as_json: AsJson = False) -> None:
    """Every drop's count in Redis, in Postgres, and their difference."""
    async with backends.database() as database, backends.bouncer() as bouncer:
        if not await bouncer.reachable():
            fail(backends.why_redis_failed())
        rows = []
        for row in await database.fetch(QUERIES["remaining_by_drop"], None, DROPS_LIMIT):
            redis = await bouncer.read(count_key(row["tier"], row["year"], row["environment"]))
            drift = None if redis is None else redis - row["remaining"]
            rows.append({**row, "redis": redis, "postgres": row["remaining"], "drift": drift})
    show(
        rows,
        ("tier", "year", "environment", "redis", "postgres", "drift"),
        as_json=as_json,
        empty="There is no drop; `vyris drop create` makes one.",
    )


@app.command()
@run_async
async def rebuild(reason: OptionalReason = BY_COMMAND) -> None:
    """Write Postgres' number of unclaimed slots over every count in Redis."""
    async with backends.database() as database, backends.bouncer() as bouncer:
        if not await bouncer.reachable():
            fail(backends.why_redis_failed())
        # Before it is done: Redis knows no transaction of Postgres'.
        await audited(database, lambda c: operator(reason).note(c, "bouncer.rebuild", "all drops"))
        await Recounter(database, bouncer, interval_s=0).rebuild()
        if not await bouncer.reachable():
            fail(f"Not all counts were written. {backends.why_redis_failed()}")
    err.print("Redis' counts are Postgres' now.")
