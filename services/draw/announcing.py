"""Announcing a draw: its terms are written with the drop, and hashed."""

from __future__ import annotations

from services.draw.maths import terms_hash_of
from services.draw.statements import QUERIES
from services.draw.terms import NewDraw, written_terms
from services.mint.drops import NewDrop, Progress, create_drop
from services.storage.connections import Connection


async def create_draw(
    connection: Connection, drop: NewDrop, new: NewDraw, progress: Progress = lambda _: None
) -> int | None:
    """Create a drop that sells by a draw in the caller's transaction; its id, or None where it exists already.

    Raises TermsRefused.
    """
    terms = written_terms(drop, new)
    drop_id = await create_drop(connection, drop, progress)
    if drop_id is not None:
        await connection.execute(
            QUERIES["announce"],
            drop_id,
            terms,
            terms_hash_of(terms),
            new.entries_open,
            new.entries_close,
            new.challenge_s,
            new.chain.chain_hash,
        )
    return drop_id
