"""`python -m tests.chaos.broken`: runs each broken variant until the checker catches it, and says which rule did."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Sequence
from itertools import count, islice
from typing import Annotated

import asyncpg
import structlog
import typer
from rich.console import Console
from rich.table import Table

from stack.local import Stack
from tests.chaos.broken.variants import VARIANTS, Variant
from tests.chaos.campaign import campaign_stack, run_seeds
from tests.chaos.checker import Violation
from tests.chaos.cluster import MINTS
from tests.chaos.draws import people_of, run_draws
from tests.chaos.workload import Plan

RUNS_A_VARIANT = 6
# Enough people for withdrawals, and for a second wave.
DRAW_PEOPLE = 40
EMPTY = (
    "TRUNCATE draws, entries, draw_ranks, holds, person_keys, late_payments, contacts, devices, membership_events, "
    "memberships, receipt_ledger CASCADE"
)

out = Console(width=150)


def catch(stack: Stack, name: str) -> list[Violation]:
    """Run a variant until the checker catches it: the violations of that run, or an empty list."""
    variant = VARIANTS[name]
    asyncio.run(_execute(stack, variant.without))
    try:
        for seed in islice(_seeds(variant), RUNS_A_VARIANT):
            violations = _violations(stack, name, seed)
            if {violation.rule for violation in violations} & variant.rules:
                return violations
    finally:
        asyncio.run(_execute(stack, (EMPTY, *variant.restored)))
    return []


def _violations(stack: Stack, name: str, seed: int) -> list[Violation]:
    """What the checker finds in one run of a variant."""
    variant = VARIANTS[name]
    if variant.sale == "draw":
        (drawn,) = run_draws(stack, [seed], name, variant.step)
        return drawn.violations
    (result,) = run_seeds(
        stack,
        (seed,),
        None,
        lambda _: None,
        capacity_limit=variant.capacity_limit,
        mint_argv=dict.fromkeys(MINTS, ("-m", "tests.chaos.broken.mint", name)),
        kinds=variant.kinds or ("network_delay",),
        all_along=variant.lasts_all_along,
        sale=variant.sale,
    )
    return result.violations


def _seeds(variant: Variant) -> Iterator[int]:
    """All seeds whose plan can show the mistake: some need a drop that sells out, or numbers that come back."""
    if variant.sale == "draw":
        yield from (seed for seed in count(1) if people_of(seed) >= DRAW_PEOPLE)
    for seed in count(1):
        plan = Plan.drawn(random.Random(seed), variant.capacity_limit, "", variant.sale)
        sells_out = len(plan.purchases) > 1.2 * plan.capacity
        if sells_out >= variant.needs_sell_out and bool(plan.revocations) >= variant.needs_freed_numbers:
            yield seed


async def _execute(stack: Stack, statements: Sequence[str]) -> None:
    connection = await asyncpg.connect(stack.database_url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


def main(only: Annotated[list[str] | None, typer.Argument(help="Names of variants; default: all.")] = None) -> None:
    """Run broken variants and show which rules catch them."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    table = Table("variant", "what is wrong", "caught by", "first words")
    missed = []
    with campaign_stack() as stack:
        for name in only or VARIANTS:
            violations = catch(stack, name)
            rules = sorted({violation.rule for violation in violations})
            out.print(f"{name}: {', '.join(rules) or 'NOT CAUGHT'}")
            table.add_row(
                name, VARIANTS[name].mistake, "\n".join(rules), violations[0].detail[:60] if violations else ""
            )
            if not violations:
                missed.append(name)
    out.print(table)
    raise typer.Exit(bool(missed))


if __name__ == "__main__":
    typer.run(main)
