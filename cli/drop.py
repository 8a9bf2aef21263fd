"""`vyris drop`: create, list, show, resize, schedule and close drops."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from cli import backends
from cli.actor import BY_COMMAND, OptionalReason, operator, operator_name
from cli.announced_draw import DrawTimes, asked_draw
from cli.console import AsJson, Reason, err, fail, out, run_async, show, show_one
from services.audit_log import Actor, audited
from services.draw.announcing import create_draw
from services.draw.terms import NewDraw, TermsRefused
from services.mint import drop_times, drops
from services.mint.drop_watch import drop_state
from services.mint.receipts.verified import Environment
from services.mint.recount import Recounter
from services.mint.settings import DefaultDropSettings
from services.mint.statements import QUERIES
from services.runtime.fields import drop_name
from services.runtime.settings import load
from services.runtime.times import rfc3339
from services.runtime.typed import typed_word
from services.storage.connections import Connection
from services.storage.database import Database
from services.supply.settings import NewHoldSettings
from vyris.errors import InvalidRequest, NotFound

app = typer.Typer(no_args_is_help=True, help="Create, list, show, resize, schedule and close drops.")

Tier = Annotated[str, typer.Argument(help="a-z, 0-9 and -, at most 32 characters")]
Year = Annotated[str, typer.Argument(help="2000 to 2100")]
Capacity = Annotated[int, typer.Option(min=0, max=drops.CAPACITY_LIMIT, help="How many numbers the drop has.")]
Sandbox = Annotated[bool, typer.Option("--sandbox", help="The supply of purchases made in a store's sandbox.")]


def _moment(text: str) -> datetime:
    """ISO 8601; UTC where it names no offset."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter("a moment is written 2026-12-01T19:00:00, in UTC, or with its offset") from None
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


_MOMENT = "ISO 8601, in UTC or with its offset."
OpensAt = Annotated[
    datetime | None, typer.Option(parser=_moment, metavar="MOMENT", help=f"When minting begins. {_MOMENT}")
]
ClosesAt = Annotated[
    datetime | None, typer.Option(parser=_moment, metavar="MOMENT", help=f"When minting ends. {_MOMENT}")
]
COLUMNS = (
    "tier",
    "year",
    "environment",
    "sale",
    "capacity",
    "minted",
    "held",
    "remaining",
    "state",
    "opens_at",
    "closes_at",
)


class Sale(StrEnum):
    """How a drop sells."""

    DIRECT = "direct"
    HOLD = "hold"
    DRAW = "draw"


class Limit(StrEnum):
    """What counts once in a drop."""

    USER = "user"
    DEVICE = "device"
    STORE_ACCOUNT = "store_account"
    EMAIL = "email"
    PAYER = "payer"


OFFER_S = 86_400
LIMIT_HELP = "Count this key of a person once; several times for several keys. `user` is always among them."


@app.command()
@run_async
async def create(
    tier: Annotated[str | None, typer.Argument(help="Default: DROP_TIER.")] = None,
    year: Annotated[str | None, typer.Argument(help="Default: DROP_YEAR.")] = None,
    capacity: Annotated[
        int | None, typer.Option(min=0, max=drops.CAPACITY_LIMIT, help="Default: DROP_CAPACITY.")
    ] = None,
    opens_at: OpensAt = None,
    closes_at: ClosesAt = None,
    sandbox: Sandbox = False,
    refund_frees_number: Annotated[
        bool, typer.Option("--refund-frees-number", help="Sell the number of a refunded membership again.")
    ] = False,
    sale: Annotated[Sale, typer.Option(help="direct: who mints first; hold: who takes a hold first; draw: by lot.")] = (
        Sale.DIRECT
    ),
    limit: Annotated[list[Limit] | None, typer.Option(help=LIMIT_HELP)] = None,
    hold_ttl: Annotated[
        int | None, typer.Option(min=1, max=604_800, help="How many seconds a hold lasts. Default: HOLD_TTL_S.")
    ] = None,
    hold_extensions: Annotated[
        int | None, typer.Option(min=0, max=100, help="How often a hold can be extended. Default: HOLD_EXTENSIONS.")
    ] = None,
    hold_attempts: Annotated[
        int | None, typer.Option(min=1, max=1_000, help="How many holds a person can take. Default: HOLD_ATTEMPTS.")
    ] = None,
    entries_open: Annotated[
        datetime | None, typer.Option(parser=_moment, metavar="MOMENT", help=f"Draw: when entries open. {_MOMENT}")
    ] = None,
    entries_close: Annotated[
        datetime | None, typer.Option(parser=_moment, metavar="MOMENT", help=f"Draw: when entries close. {_MOMENT}")
    ] = None,
    beacon_round: Annotated[
        int | None, typer.Option(min=1, help="Draw: the beacon's round. Default: ten minutes after the challenge time.")
    ] = None,
    challenge: Annotated[
        int, typer.Option(min=0, max=604_800, help="Draw: seconds at least between the root and the round.")
    ] = 60,
    verifier_key: Annotated[
        str | None, typer.Option(help="Draw: the key that will sign. Default: that of DRAW_SIGNING_KEY_FILE.")
    ] = None,
    development_beacon: Annotated[
        bool, typer.Option("--development-beacon", help="Draw: by the local stack's own beacon, which is not fair.")
    ] = False,
    if_missing: Annotated[bool, typer.Option("--if-missing", help="Succeed where the drop exists already.")] = False,
    reason: OptionalReason = BY_COMMAND,
) -> None:
    """Create a drop and its numbers, in a random order."""
    default, held = load(DefaultDropSettings), load(NewHoldSettings)
    name = _checked_name(tier or default.drop_tier, year or default.drop_year)
    new = drops.NewDrop(
        *name,
        default.drop_capacity if capacity is None else capacity,
        _environment(sandbox),
        *_opening(opens_at, closes_at),
        refund_frees_number,
        sale.value,
        tuple(key.value for key in limit or ()),
        _hold_ttl_s(sale, hold_ttl, held),
        _hold_extensions(sale, hold_extensions, held),
        held.hold_attempts if hold_attempts is None else hold_attempts,
    )
    times = DrawTimes(entries_open, entries_close, beacon_round, challenge)
    draw = asked_draw(sale == Sale.DRAW, times, verifier_key, is_development=development_beacon)
    async with backends.database(patient=True) as database:
        with _progress(new.capacity) as advance:
            actor = operator(reason)
            created = await audited(database, lambda c: _create(c, new, draw, advance, actor), takes_minutes=True)
        rows = [] if created else await database.fetch(QUERIES["list_drops"], new.tier, new.year)
    if created is None and not if_missing:
        fail(f"The drop {new.tier} {new.year} exists already; `vyris drop resize` changes its capacity.")
    drop = f"drop {new.tier} {new.year}{' (sandbox)' if sandbox else ''}"
    err.print(f"Created {drop}." if created else f"Found {drop}{_other_capacity(rows, new)}.", highlight=False)


@app.command("list")
@run_async
async def list_drops(as_json: AsJson = False) -> None:
    """All drops, newest first."""
    show(await _read(None, None), COLUMNS, as_json=as_json, empty="There is no drop; `vyris drop create` makes one.")


@app.command("show")
@run_async
async def show_drop(tier: Tier, year: Year, sandbox: Sandbox = False, as_json: AsJson = False) -> None:
    """One drop, with what its tallies are checked against."""
    tier, year = _checked_name(tier, year)
    row = next((one for one in await _read(tier, year) if one["environment"] == _environment(sandbox)), None)
    if row is None:
        fail(f"There is no drop {tier} {year}; `vyris drop list` shows those that there are.")
    async with backends.database(patient=True) as database:
        slots = await database.fetchrow(QUERIES["count_slots"], row["id"])
        live = await database.fetchrow(QUERIES["count_live"], row["id"])
        counted = {
            "slots_counted": slots["count"] if slots else 0,
            "live_memberships": live["count"] if live else 0,
        }
        show_one({**{name: row[name] for name in COLUMNS}, **counted}, as_json=as_json)


@app.command()
@run_async
async def resize(tier: Tier, year: Year, capacity: Capacity, reason: Reason, sandbox: Sandbox = False) -> None:
    """Give a drop more or fewer numbers, never fewer than are taken."""
    async with backends.database(patient=True) as database, backends.bouncer() as bouncer:
        drop = await found_drop(database, tier, year, sandbox=sandbox)
        _refuse_draw(drop)
        try:
            before = await audited(
                database,
                lambda c: drops.resize_drop(c, drop, capacity, reason=reason, actor=operator_name()),
                takes_minutes=True,
            )
        except drops.CannotResize as refusal:
            fail(f"The drop keeps its capacity: {refusal}.")
        out.print(f"Capacity of {tier} {year}: {before} before, {capacity} now.", highlight=False)
        await Recounter(database, bouncer, interval_s=0).rebuild()
        if not await bouncer.reachable():
            err.print(f"{backends.why_redis_failed()} The mint service writes its count when it is back.")


@app.command()
@run_async
async def schedule(
    tier: Tier,
    year: Year,
    reason: Reason,
    opens_at: OpensAt = None,
    closes_at: ClosesAt = None,
    sandbox: Sandbox = False,
) -> None:
    """Say anew when a drop sells; one that was closed may open again."""
    opening = _opening(opens_at, closes_at)
    async with backends.database() as database:
        drop = await found_drop(database, tier, year, sandbox=sandbox)
        _refuse_draw(drop)
        await audited(
            database,
            lambda c: drop_times.schedule_drop(c, drop, *opening, reason=reason, actor=operator_name()),
        )
    begins, ends = (moment.isoformat(" ") if moment else None for moment in opening)
    err.print(f"{tier} {year} sells from {begins or 'now on'} until {ends or 'it is sold out'}.", highlight=False)


@app.command()
@run_async
async def close(tier: Tier, year: Year, reason: Reason, sandbox: Sandbox = False) -> None:
    """End a drop's sale now: from the next batch on buyers hear that it is closed."""
    async with backends.database() as database:
        drop = await found_drop(database, tier, year, sandbox=sandbox)
        _refuse_draw(drop)
        await audited(database, lambda c: drop_times.close_drop(c, drop, reason=reason, actor=operator_name()))
    err.print(f"Closed {tier} {year}; `vyris drop schedule` opens it again.", highlight=False)


async def _create(
    connection: Connection, new: drops.NewDrop, draw: NewDraw | None, advance: drops.Progress, actor: Actor
) -> int | None:
    if draw is None:
        drop_id = await drops.create_drop(connection, new, advance)
    else:
        try:
            drop_id = await create_draw(connection, new, draw, advance)
        except TermsRefused as refusal:
            fail(f"The draw cannot be announced: {refusal}.")
    if drop_id is not None:
        await actor.note(
            connection,
            "drop.create",
            f"{new.tier} {new.year}",
            drop_id=drop_id,
            environment=new.environment,
            capacity=new.capacity,
            opens_at=rfc3339(new.opens_at),
            closes_at=rfc3339(new.closes_at),
            refund_frees_number=new.refund_frees_number,
            sale=new.sale,
            limits=list(new.limits),
        )
    return drop_id


def _refuse_draw(drop: drops.Drop) -> None:
    if drop.sale == Sale.DRAW:
        fail("The terms of a draw never change; `vyris draw cancel` ends it, and says so to everybody.")


def _hold_ttl_s(sale: Sale, asked_s: int | None, default: NewHoldSettings) -> int:
    """An offer of a draw lasts a day unless its creator says otherwise."""
    if asked_s is not None:
        return asked_s
    return OFFER_S if sale == Sale.DRAW else default.hold_ttl_s


def _hold_extensions(sale: Sale, asked: int | None, default: NewHoldSettings) -> int:
    """An offer of a draw is for the next rank when its time is over."""
    if sale == Sale.DRAW:
        return 0
    return default.hold_extensions if asked is None else asked


async def found_drop(database: Database, tier: str, year: str, *, sandbox: bool) -> drops.Drop:
    """The drop of that name; ends the command with a sentence where there is none."""
    name = _checked_name(tier, year)
    try:
        return await drops.DropDirectory(database).named(*name, _environment(sandbox))
    except NotFound:
        fail(f"There is no drop {tier} {year}; `vyris drop list` shows those that there are.")


def _environment(sandbox: bool) -> Environment:
    return "sandbox" if sandbox else "production"


def _opening(opens_at: datetime | None, closes_at: datetime | None) -> tuple[datetime | None, datetime | None]:
    if opens_at and closes_at and opens_at >= closes_at:
        fail("--opens-at must be before --closes-at.")
    return opens_at, closes_at


def _other_capacity(rows: Sequence[Any], new: drops.NewDrop) -> str:
    """What to say of a drop that was found and is not as large as the one that was asked for."""
    found = next((row["capacity"] for row in rows if row["environment"] == new.environment), new.capacity)
    if found == new.capacity:
        return ""
    return f", which keeps its capacity of {found}: `vyris drop resize` would make it {new.capacity}"


async def _read(tier: str | None, year: str | None) -> list[dict[str, object]]:
    async with backends.database() as database:
        rows = await database.fetch(QUERIES["list_drops"], tier, year)
    return [_shown(row) for row in rows]


def _shown(row: Any) -> dict[str, object]:
    minted = row["taken"] - row["held"]
    remaining = row["capacity"] - minted
    state = drop_state(early=row["early"], late=row["late"], remaining=remaining, held=row["held"])
    return {**row, "minted": minted, "remaining": remaining, "state": state}


def _checked_name(tier: str, year: str) -> tuple[str, str]:
    """A drop's name as a person types it: `Genesis`, or with a blank at its end."""
    try:
        return drop_name(typed_word(tier), typed_word(year))
    except InvalidRequest as refusal:
        fail(f"{refusal.message}.")


@contextmanager
def _progress(capacity: int) -> Iterator[drops.Progress]:
    with Progress(
        TextColumn("slots"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeRemainingColumn(),
        console=err,
    ) as bar:
        task = bar.add_task("slots", total=capacity)
        yield lambda written: bar.advance(task, written)
