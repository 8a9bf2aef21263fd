"""`vyris draw`: show, close, cancel a draw, carry a round in by hand, list who has an offer."""

from __future__ import annotations

import json
from typing import Annotated, Any

import asyncpg
import typer

from cli import backends
from cli.actor import operator
from cli.announced_draw import AnnouncingSettings, chain_of
from cli.console import AsJson, Reason, err, fail, run_async, show, show_one
from cli.drop import Tier, Year, found_drop
from cli.spreadsheet import print_csv
from services.audit_log import audited
from services.draw.chains import QUICKNET, Chain
from services.draw.closing import count_in
from services.draw.document import written_document
from services.draw.relays import RelayRefused, read_signature
from services.draw.statements import QUERIES
from services.mint.drops import Drop
from services.runtime.settings import load
from services.storage.connections import Connection
from services.storage.database import Database

app = typer.Typer(no_args_is_help=True, help="Show, close and cancel draws, carry rounds in, list winners.")

SHOWN = (
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
WINNERS = ("rank", "wave", "entry_id", "user_id", "state", "expires_at", "membership_id")


@app.command("show")
@run_async
async def show_draw(tier: Tier, year: Year, as_json: AsJson = False) -> None:
    """One draw, and how far it is."""
    async with backends.database() as database:
        row = await _found(database, await found_drop(database, tier, year, sandbox=False))
    document = written_document(row)
    told: dict[str, Any] = {name: getattr(document, name) for name in SHOWN}
    told |= {
        "round": document.beacon.round,
        "round_at": document.beacon.round_at,
        "chain_hash": document.beacon.chain_hash,
        "refused": [f"round {one.round}: {one.reason}" for one in document.refused],
        "waits_for": _waits_for(row),
    }
    show_one(told, as_json=as_json)


@app.command()
@run_async
async def close(tier: Tier, year: Year, reason: Reason) -> None:
    """Close entries whose time is over and count the tree, where no mint process has done it.

    The mint process signs and publishes the root: it alone has the key.
    """
    async with backends.database(patient=True) as database:
        drop = await found_drop(database, tier, year, sandbox=False)
        await _found(database, drop)

        async def work(connection: Connection) -> bool:
            await connection.execute(QUERIES["close_entries"], drop.id, 0.0)
            counted = await count_in(connection, drop.id)
            if counted:
                await operator(reason).note(connection, "draw.close", f"{tier} {year}", drop_id=drop.id)
            return counted

        if not await audited(database, work, takes_minutes=True):
            fail("There is nothing to close: entries are still open, or the tree is counted (`vyris draw show`).")
    err.print(f"Closed the entries of {tier} {year} and counted them.", highlight=False)


@app.command()
@run_async
async def beacon(
    tier: Tier,
    year: Year,
    signature: Annotated[
        str,
        typer.Argument(help="The signature of the round in force: 96 hexadecimal digits, or a relay's whole answer."),
    ],
    reason: Reason,
) -> None:
    """Carry a round in by hand. It proves itself: a wrong one is refused."""
    async with backends.database() as database:
        drop = await found_drop(database, tier, year, sandbox=False)
        row = await _found(database, drop)
        if row["round"] is None:
            fail("There is no round in force yet: the root is not published.")
        raw, number = _read_signature(signature), row["round"]
        if not _chain(row).verifies(number, raw):
            fail(f"This is not the signature of round {number} of the chain that the terms name.")

        async def work(connection: Connection) -> bool:
            kept = await connection.fetchrow(QUERIES["keep_signature"], drop.id, number, raw)
            if kept is not None:
                await operator(reason).note(
                    connection, "draw.beacon", f"{tier} {year}", drop_id=drop.id, round=number, signature=raw.hex()
                )
            return kept is not None

        if not await audited(database, work):
            fail("The draw does not wait for a round: it has one already, or its root is not shown yet.")
    err.print(f"Round {number} is written down; the mint process draws within a second.", highlight=False)


@app.command()
@run_async
async def winners(
    tier: Tier,
    year: Year,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, for the brand's own channel.")] = False,
    as_json: AsJson = False,
) -> None:
    """Who has or had an offer, by rank. Nothing mails them: tell them by the brand's own channel."""
    async with backends.database(patient=True) as database:
        drop = await found_drop(database, tier, year, sandbox=False)
        await _found(database, drop)
        rows = [dict(row) for row in await database.fetch(QUERIES["list_winners"], drop.id)]
    if as_csv:
        print_csv(rows, WINNERS)
        return
    show(rows, WINNERS, as_json=as_json, empty="Nobody has an offer.")


@app.command()
@run_async
async def cancel(tier: Tier, year: Year, reason: Reason) -> None:
    """Cancel a draw for good. Everybody reads the reason; live offers end, memberships stay."""
    async with backends.database() as database:
        drop = await found_drop(database, tier, year, sandbox=False)
        await _found(database, drop)

        async def work(connection: Connection) -> bool:
            actor = operator(reason)
            cancelled = await connection.fetchrow(QUERIES["cancel"], drop.id, actor.reason)
            if cancelled is not None:
                await connection.execute(QUERIES["end_offers_of_draw"], drop.id)
                await actor.note(connection, "draw.cancel", f"{tier} {year}", drop_id=drop.id)
            return cancelled is not None

        if not await audited(database, work):
            fail("This draw is over, or was cancelled before (`vyris draw show`).")
    err.print(f"Cancelled the draw of {tier} {year}.", highlight=False)


async def _found(database: Database, drop: Drop) -> asyncpg.Record:
    row = await database.fetchrow(QUERIES["read_draw"], drop.id)
    if row is None:
        fail(f"The drop {drop.tier} {drop.year} sells without a draw.")
    return row


def _waits_for(row: asyncpg.Record) -> str:
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
    return next((what for is_so, what in steps if is_so), "payments, or numbers that come back")


def _read_signature(text: str) -> bytes:
    try:
        if text.lstrip().startswith("{"):
            return read_signature(json.loads(text).get("signature"))
        return read_signature(text.strip())
    except (RelayRefused, ValueError) as refusal:
        fail(f"The signature cannot be read: {refusal}.")


def _chain(row: asyncpg.Record) -> Chain:
    if row["chain_hash"] == QUICKNET.chain_hash:
        return QUICKNET
    own = chain_of(load(AnnouncingSettings), is_development=True)
    if row["chain_hash"] != own.chain_hash:
        fail("The terms name a beacon chain that is not known here.")
    return own
