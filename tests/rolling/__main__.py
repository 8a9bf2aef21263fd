"""`python -m tests.rolling`: replace every process under load, and report what the callers noticed."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Annotated

import typer
import uvloop

from tests.rolling.release import Outcome, all_at_once, one_after_the_other, release_under_load
from tests.rolling.suite import production_suite

Rate = Annotated[float, typer.Option(help="Mints a second, whether or not earlier ones were answered.")]


def main(
    rate: Rate = 500.0, at_once: Annotated[bool, typer.Option(help="Roll all services together.")] = False
) -> None:
    """Replace every process, gateways included, and exit with 1 if a caller noticed."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        outcome = runner.run(_release(rate, at_once))
    typer.echo(f"replaced in {outcome.seconds:.0f} s: {', '.join(outcome.replaced)}")
    typer.echo(f"answered: {dict(outcome.answered)}, {outcome.mints_per_s:.0f} mints/s")
    typer.echo(f"mint p50 {outcome.p50_s:.3f} s, p99 {outcome.p99_s:.3f} s, slowest {outcome.slowest_s:.3f} s")
    typer.echo(f"sent again after a broken connection: {dict(outcome.sent_again)}")
    typer.echo(f"failed: {dict(outcome.failures)}")
    typer.echo(f"violations: {len(outcome.violations)}")
    for violation in outcome.violations[:10]:
        typer.echo(f"  {violation.rule}: {violation.detail}")
    raise typer.Exit(bool(outcome.failures or outcome.violations))


async def _release(rate: float, at_once: bool) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="vyris-r-") as folder:
        async with production_suite(Path(folder)) as suite:
            return await release_under_load(suite, rate, all_at_once if at_once else one_after_the_other)


if __name__ == "__main__":
    typer.run(main)
