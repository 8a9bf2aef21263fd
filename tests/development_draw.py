"""Draws on a stack's own beacon and key: seconds instead of days."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import asyncpg

from admin.draws import NewDraw, create_draw
from admin.drops import NewDrop
from services.draw.chains import Chain
from services.draw.development_beacon import development_beacon
from services.draw.signing import read_signer
from stack.local import Stack

CHALLENGE_S = 1
SALE = timedelta(days=8)


def beacon_of(stack: Stack) -> Chain:
    """The chain of the stack's beacon."""
    return development_beacon(stack.state.root).chain


async def announce_draw(
    connection: asyncpg.Connection,
    stack: Stack,
    name: tuple[str, str],
    capacity: int,
    *,
    open_s: float,
    open_after_s: float = 0.0,
    round_after_s: float = 3.0,
    offer_s: int = 86_400,
    limits: tuple[str, ...] = (),
    sale: timedelta = SALE,
) -> int:
    """Announce a draw as `vyris drop create` does; the drop's id.

    Entries open `open_after_s` from now and close after `open_s`. The round is due `round_after_s` after the close.
    The sale ends `sale` after the close.
    """
    signer = read_signer(None, stack.state.root, "https://vyris.example", production=False)
    assert signer is not None
    now = datetime.now(UTC)
    opens = now.replace(microsecond=now.microsecond // 1000 * 1000) + timedelta(seconds=open_after_s)
    closes = opens + timedelta(seconds=open_s)
    drop = NewDrop(
        *name,
        capacity,
        closes_at=closes + sale,
        sale="draw",
        limits=limits,
        hold_ttl_s=offer_s,
        hold_extensions=0,
    )
    chain = beacon_of(stack)
    round_ = chain.first_round_from(closes + timedelta(seconds=round_after_s))
    new = NewDraw(chain, round_, opens, closes, CHALLENGE_S, signer.verifier_key)
    async with connection.transaction():
        drop_id = await create_draw(connection, drop, new)  # type: ignore[arg-type]
    assert drop_id is not None
    return drop_id
