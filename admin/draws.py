"""The operator's commands for draws: announce, show, close, enter a round by hand, cancel, list winners."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

import asyncpg

from admin.draw_terms import NewDraw, TermsRefused, write_terms
from admin.drops import Drop, NewDrop, Progress, create_drop
from admin.settings import NewDrawSettings
from admin.statements import QUERIES
from services.data.audit_log import Actor, audited
from services.data.storage.connections import Connection
from services.data.storage.database import Database
from services.draw.chains import QUICKNET, Chain
from services.draw.closing import count_in
from services.draw.development_beacon import development_beacon
from services.draw.document import build_document
from services.draw.maths import terms_hash_of
from services.draw.relays import RelayRefused, read_signature
from services.draw.signing import read_signer
from services.draw.statements import QUERIES as DRAW_QUERIES
from services.server.runtime.settings import load

__all__ = ["DrawDesk", "DrawRefused", "DrawTimes", "NewDraw", "TermsRefused", "create_draw", "plan_draw"]

OFFER_S: Final = 86_400
"""How long an offer lasts by default, in seconds."""

CHALLENGE_LIMIT_S: Final = 7 * 86_400
"""The most seconds between the root and the round; `draws.challenge_s` has the same bound."""

# The default round is this long after the challenge time, so that the root may be late.
ROUND_AFTER: Final = timedelta(minutes=10)

DOCUMENT_FIELDS: Final = (
    "state",
    "entries_open",
    "entries_close",
    "terms_hash",
    "entries",
    "withdrawn",
    "entries_root",
    "signature",
    "seed",
    "offered_rank",
    "offer_until",
    "cancel_reason",
)


class DrawRefused(Exception):
    """The message says why."""


class DrawTimes(NamedTuple):
    """The times of a new draw, as its creator chose them."""

    entries_open: datetime | None  # None: now
    entries_close: datetime
    beacon_round: int | None  # None: the first one that leaves time for a late root
    challenge_s: int


def plan_draw(times: DrawTimes, verifier_key: str | None, *, by_development_beacon: bool) -> NewDraw:
    """Complete a new draw by the settings.

    `verifier_key`: of the key that will sign; None: that of DRAW_SIGNING_KEY_FILE. Raises TermsRefused, WrongSetting.
    """
    settings = load(NewDrawSettings)
    chain = _development_chain(settings) if by_development_beacon else QUICKNET
    entries_open = _without_microseconds(times.entries_open or datetime.now(UTC))
    entries_close = _without_microseconds(times.entries_close)
    number = times.beacon_round
    if number is None:
        number = chain.first_round_from(entries_close + timedelta(seconds=times.challenge_s) + ROUND_AFTER)
    key = verifier_key or _own_verifier_key(settings)
    return NewDraw(chain, number, entries_open, entries_close, times.challenge_s, key)


def _development_chain(settings: NewDrawSettings) -> Chain:
    if settings.production:
        raise TermsRefused(
            "VYRIS_ENV=production refuses the development beacon, because its owner knows its rounds in advance"
        )
    return development_beacon(settings.vyris_state_dir).chain


def _own_verifier_key(settings: NewDrawSettings) -> str:
    signer = read_signer(
        settings.draw_signing_key_file,
        settings.vyris_state_dir,
        settings.public_base_url,
        production=settings.production,
    )
    if signer is None:
        raise TermsRefused("name the key that will sign: --verifier-key, or DRAW_SIGNING_KEY_FILE")
    return signer.verifier_key


def _without_microseconds(moment: datetime) -> datetime:
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


async def create_draw(
    connection: Connection, drop: NewDrop, new: NewDraw, progress: Progress = lambda _: None
) -> int | None:
    """Create a drop that sells by a draw, in the caller's transaction; its id, or None if it exists already.

    Raises TermsRefused.
    """
    terms = write_terms(drop, new)
    drop_id = await create_drop(connection, drop, progress)
    if drop_id is not None:
        await connection.execute(
            QUERIES["announce_draw"],
            drop_id,
            terms,
            terms_hash_of(terms),
            new.entries_open,
            new.entries_close,
            new.challenge_s,
            new.chain.chain_hash,
        )
    return drop_id


async def describe_draw(database: Database, drop: Drop) -> dict[str, Any]:
    """A draw's public document in short, and what it waits for. Raises DrawRefused, DatabaseUnavailable."""
    row = await _read_draw(database, drop)
    document = build_document(row)
    shown: dict[str, Any] = {name: getattr(document, name) for name in DOCUMENT_FIELDS}
    return shown | {
        "round": document.beacon.round,
        "round_at": document.beacon.round_at,
        "chain_hash": document.beacon.chain_hash,
        "refused": [f"round {one.round}: {one.reason}" for one in document.refused],
        "waits_for": _name_next_step(row),
    }


async def list_winners(database: Database, drop: Drop) -> list[asyncpg.Record]:
    """The entries that have or had an offer, by rank. Raises DrawRefused, DatabaseUnavailable."""
    await _read_draw(database, drop)
    return await database.fetch(QUERIES["list_winners"], drop.id)


class DrawDesk:
    """Changes draws. Each change leaves an entry in the audit log.

    Every method raises DrawRefused and DatabaseUnavailable.
    """

    def __init__(self, database: Database, actor: Actor) -> None:
        """`actor`: the name and the reason for the audit log."""
        self._database = database
        self._actor = actor

    async def close_entries(self, drop: Drop) -> None:
        """Close the entries of a draw after their time and count the tree, if no mint process has done it.

        A mint process signs and publishes the root, because only it has the key.
        """
        await _read_draw(self._database, drop)

        async def work(connection: Connection) -> bool:
            await connection.execute(DRAW_QUERIES["close_entries"], drop.id, 0.0)
            counted = await count_in(connection, drop.id)
            if counted:
                await self._note(connection, "draw.close", drop)
            return counted

        if not await audited(self._database, work, takes_minutes=True):
            raise DrawRefused(
                "There is nothing to close: entries are still open, or the tree is counted (`vyris draw show`)"
            )

    async def enter_round(self, drop: Drop, answer: str) -> int:
        """Store the signature of the round in force; the round's number. A wrong signature is refused.

        `answer`: 96 hexadecimal digits, or a relay's whole answer.
        """
        row = await _read_draw(self._database, drop)
        if row["round"] is None:
            raise DrawRefused("No round is in force yet: the root is not published")
        number: int = row["round"]
        signature = _parse_signature(answer)
        if not _find_chain(row).verifies(number, signature):
            raise DrawRefused(f"This is not the signature of round {number} of the chain that the terms name")

        async def work(connection: Connection) -> bool:
            kept = await connection.fetchrow(DRAW_QUERIES["keep_signature"], drop.id, number, signature)
            if kept is not None:
                await self._note(connection, "draw.beacon", drop, round=number, signature=signature.hex())
            return kept is not None

        if not await audited(self._database, work):
            raise DrawRefused("The draw does not wait for a round: it has one already, or its root is not public yet")
        return number

    async def cancel(self, drop: Drop) -> None:
        """Cancel a draw for good. The actor's reason is public; live offers end, memberships stay."""
        await _read_draw(self._database, drop)

        async def work(connection: Connection) -> bool:
            cancelled = await connection.fetchrow(QUERIES["cancel_draw"], drop.id, self._actor.reason)
            if cancelled is not None:
                await connection.execute(QUERIES["end_offers"], drop.id)
                await self._note(connection, "draw.cancel", drop)
            return cancelled is not None

        if not await audited(self._database, work):
            raise DrawRefused("This draw is over, or was cancelled before (`vyris draw show`)")

    async def _note(self, connection: Connection, action: str, drop: Drop, **details: Any) -> None:
        await self._actor.note(connection, action, f"{drop.tier} {drop.year}", drop_id=drop.id, **details)


async def _read_draw(database: Database, drop: Drop) -> asyncpg.Record:
    row = await database.fetchrow(DRAW_QUERIES["read_draw"], drop.id)
    if row is None:
        raise DrawRefused(f"The drop {drop.tier} {drop.year} sells without a draw")
    return row


def _name_next_step(row: asyncpg.Record) -> str:
    if row["cancelled_at"] is not None or row["done_at"] is not None:
        return "nothing"
    steps = (
        (row["now"] < row["entries_close"], "the close of entries"),
        (row["closed_at"] is None, "transactions that began before the close"),
        (row["root"] is None, "the count of the tree"),
        (row["round"] is None, "the signed root"),
        (row["signature"] is None, "the beacon's round"),
        (row["seed"] is None, "the draw"),
    )
    return next((step for is_next, step in steps if is_next), "payments, or numbers that come back")


def _parse_signature(answer: str) -> bytes:
    try:
        if answer.lstrip().startswith("{"):
            return read_signature(json.loads(answer).get("signature"))
        return read_signature(answer.strip())
    except (RelayRefused, ValueError) as refusal:
        raise DrawRefused(f"The signature cannot be read: {refusal}") from None


def _find_chain(row: asyncpg.Record) -> Chain:
    """The chain that the terms name. Raises DrawRefused."""
    if row["chain_hash"] == QUICKNET.chain_hash:
        return QUICKNET
    settings = load(NewDrawSettings)
    chain = None if settings.production else development_beacon(settings.vyris_state_dir).chain
    if chain is None or row["chain_hash"] != chain.chain_hash:
        raise DrawRefused("The terms name a beacon chain that is not known here")
    return chain
