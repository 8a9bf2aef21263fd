"""`vyris drop`: create, list, show, resize, schedule and close drops."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from admin import draws, drop_desk, drops
from admin.bouncer import write_counts
from admin.drop_desk import DropDesk, FixedTerms, KeysDestroyed
from admin.settings import HOLD_ATTEMPTS_LIMIT, HOLD_EXTENSIONS_LIMIT, HOLD_TTL_LIMIT_S
from cli import backends
from cli.actor import BY_COMMAND, OptionalReason, operator
from cli.console import AsJson, Reason, err, fail, out, run_async, show, show_one
from services.data.storage.database import Database
from services.server.runtime.fields import TIER, YEAR, drop_name
from services.server.runtime.request_checks import describe_form
from services.server.runtime.settings import WrongSetting
from services.server.runtime.typed import typed_word
from vyris.errors import InvalidRequest, NotFound

app = typer.Typer(no_args_is_help=True, help="Create, list, show, resize, schedule and close drops.")

Tier = Annotated[str, typer.Argument(help=describe_form(TIER))]
Year = Annotated[str, typer.Argument(help=describe_form(YEAR))]
Capacity = Annotated[int, typer.Option(min=0, max=drops.CAPACITY_LIMIT, help="How many numbers the drop has.")]
Sandbox = Annotated[bool, typer.Option("--sandbox", help="The drop for test purchases in a store's sandbox.")]


def _moment(text: str) -> datetime:
    """Parse ISO 8601; UTC if it has no offset."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter("write a time as 2026-12-01T19:00:00, in UTC, or with its offset") from None
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


FIXED_TERMS = "The terms of a draw never change; `vyris draw cancel` ends it, and everyone can read the reason."
KEYS_DESTROYED = (
    "This drop closed so long ago that its person keys were destroyed, and it could not keep its limits. "
    "Create another drop."
)
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
    sale: Annotated[
        Sale, typer.Option(help="direct: buyers mint; hold: buyers take a hold first; draw: numbers are given by lot.")
    ] = Sale.DIRECT,
    limit: Annotated[list[Limit] | None, typer.Option(help=LIMIT_HELP)] = None,
    hold_ttl: Annotated[
        int | None,
        typer.Option(
            min=1, max=HOLD_TTL_LIMIT_S, help="How many seconds a hold lasts. Default: HOLD_TTL_S; draw: a day."
        ),
    ] = None,
    hold_extensions: Annotated[
        int | None,
        typer.Option(
            min=0, max=HOLD_EXTENSIONS_LIMIT, help="How often a hold can be extended. Default: HOLD_EXTENSIONS."
        ),
    ] = None,
    hold_attempts: Annotated[
        int | None,
        typer.Option(min=1, max=HOLD_ATTEMPTS_LIMIT, help="How many holds a person can take. Default: HOLD_ATTEMPTS."),
    ] = None,
    entries_open: Annotated[
        datetime | None,
        typer.Option(parser=_moment, metavar="MOMENT", help=f"Draw: when entries open. Default: now. {_MOMENT}"),
    ] = None,
    entries_close: Annotated[
        datetime | None, typer.Option(parser=_moment, metavar="MOMENT", help=f"Draw: when entries close. {_MOMENT}")
    ] = None,
    beacon_round: Annotated[
        int | None, typer.Option(min=1, help="Draw: the beacon's round. Default: ten minutes after the challenge time.")
    ] = None,
    challenge: Annotated[
        int,
        typer.Option(
            min=0, max=draws.CHALLENGE_LIMIT_S, help="Draw: the least seconds between the root and the round."
        ),
    ] = 60,
    verifier_key: Annotated[
        str | None, typer.Option(help="Draw: the key that will sign. Default: that of DRAW_SIGNING_KEY_FILE.")
    ] = None,
    development_beacon: Annotated[
        bool, typer.Option("--development-beacon", help="Draw: use the local stack's own beacon, which is not fair.")
    ] = False,
    if_missing: Annotated[bool, typer.Option("--if-missing", help="Succeed if the drop exists already.")] = False,
    reason: OptionalReason = BY_COMMAND,
) -> None:
    """Create a drop and its numbers, in a random order."""
    default = drop_desk.default_drop(sale.value)
    name = _checked_name(tier or default.tier, year or default.year)
    new = drops.NewDrop(
        *name,
        default.capacity if capacity is None else capacity,
        _environment(sandbox),
        *_opening(opens_at, closes_at),
        refund_frees_number,
        sale.value,
        tuple(key.value for key in limit or ()),
        default.hold_ttl_s if hold_ttl is None else hold_ttl,
        default.hold_extensions if hold_extensions is None else hold_extensions,
        default.hold_attempts if hold_attempts is None else hold_attempts,
    )
    draw = None
    if sale == Sale.DRAW:
        if hold_extensions:
            fail("An offer of a draw cannot be extended: leave --hold-extensions out.")
        draw = _plan_draw(entries_open, entries_close, beacon_round, challenge, verifier_key, development_beacon)
    elif development_beacon or any(
        one is not None for one in (entries_open, entries_close, beacon_round, verifier_key)
    ):
        fail("Entries, rounds and beacons belong to a draw: add --sale draw.")
    async with backends.database(patient=True) as database:
        with _progress(new.capacity) as advance:
            try:
                created = await DropDesk(database, operator(reason)).create(new, advance, draw)
            except draws.TermsRefused as refusal:
                fail(f"The draw cannot be announced: {refusal}.")
        found = None if created else await drop_desk.find_capacity(database, new.tier, new.year, new.environment)
    if created is None and not if_missing:
        fail(f"The drop {new.tier} {new.year} exists already; `vyris drop resize` changes its capacity.")
    drop = f"drop {new.tier} {new.year}{' (sandbox)' if sandbox else ''}"
    err.print(f"Created {drop}." if created else f"Found {drop}{_other_capacity(found, new)}.", highlight=False)


@app.command("list")
@run_async
async def list_drops(as_json: AsJson = False) -> None:
    """List all drops, newest first."""
    show(await _read(None, None), COLUMNS, as_json=as_json, empty="There is no drop; `vyris drop create` makes one.")


@app.command("show")
@run_async
async def show_drop(tier: Tier, year: Year, sandbox: Sandbox = False, as_json: AsJson = False) -> None:
    """Show one drop, with the counted rows that its tallies must match."""
    tier, year = _checked_name(tier, year)
    row = next((one for one in await _read(tier, year) if one["environment"] == _environment(sandbox)), None)
    if row is None:
        fail(f"There is no drop {tier} {year}; `vyris drop list` shows those that there are.")
    async with backends.database(patient=True) as database:
        counted = await drop_desk.count_rows(database, row["id"])
        show_one({**{name: row[name] for name in COLUMNS}, **counted}, as_json=as_json)


@app.command()
@run_async
async def resize(tier: Tier, year: Year, capacity: Capacity, reason: Reason, sandbox: Sandbox = False) -> None:
    """Give a drop more or fewer numbers, never fewer than are taken."""
    async with backends.database(patient=True) as database, backends.bouncer() as bouncer:
        drop = await found_drop(database, tier, year, sandbox=sandbox)
        try:
            before = await DropDesk(database, operator(reason)).resize(drop, capacity)
        except drops.CannotResize as refusal:
            fail(f"The drop keeps its capacity: {refusal}.")
        except FixedTerms:
            fail(FIXED_TERMS)
        out.print(f"Capacity of {tier} {year}: {before} before, {capacity} now.", highlight=False)
        if not await write_counts(database, bouncer):
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
    """Set when a drop sells; a closed drop may open again."""
    opening = _opening(opens_at, closes_at)
    async with backends.database() as database:
        drop = await found_drop(database, tier, year, sandbox=sandbox)
        try:
            await DropDesk(database, operator(reason)).schedule(drop, *opening)
        except FixedTerms:
            fail(FIXED_TERMS)
        except KeysDestroyed:
            fail(KEYS_DESTROYED)
    begins, ends = (moment.isoformat(" ") if moment else None for moment in opening)
    err.print(f"{tier} {year} sells from {begins or 'now on'} until {ends or 'it is sold out'}.", highlight=False)


@app.command()
@run_async
async def close(tier: Tier, year: Year, reason: Reason, sandbox: Sandbox = False) -> None:
    """End a drop's sale now; the next batch is refused."""
    async with backends.database() as database:
        drop = await found_drop(database, tier, year, sandbox=sandbox)
        try:
            await DropDesk(database, operator(reason)).close(drop)
        except FixedTerms:
            fail(FIXED_TERMS)
    err.print(f"Closed {tier} {year}; `vyris drop schedule` opens it again.", highlight=False)


def _plan_draw(
    entries_open: datetime | None,
    entries_close: datetime | None,
    beacon_round: int | None,
    challenge_s: int,
    verifier_key: str | None,
    by_development_beacon: bool,
) -> draws.NewDraw:
    if entries_close is None:
        fail("A draw needs --entries-close, and --closes-at for the end of its sale.")
    times = draws.DrawTimes(entries_open, entries_close, beacon_round, challenge_s)
    try:
        return draws.plan_draw(times, verifier_key, by_development_beacon=by_development_beacon)
    except (draws.TermsRefused, WrongSetting) as refusal:
        fail(f"The draw cannot be announced: {refusal}.")


async def found_drop(database: Database, tier: str, year: str, *, sandbox: bool) -> drops.Drop:
    """Find a drop by its name. Ends the command with a message if there is none."""
    name = _checked_name(tier, year)
    try:
        return await drop_desk.find_drop(database, *name, _environment(sandbox))
    except NotFound:
        fail(f"There is no drop {tier} {year}; `vyris drop list` shows those that there are.")


def _environment(sandbox: bool) -> drops.Environment:
    return "sandbox" if sandbox else "production"


def _opening(opens_at: datetime | None, closes_at: datetime | None) -> tuple[datetime | None, datetime | None]:
    if opens_at and closes_at and opens_at >= closes_at:
        fail("--opens-at must be before --closes-at.")
    return opens_at, closes_at


def _other_capacity(found: int | None, new: drops.NewDrop) -> str:
    """The message's part about a drop that exists with another capacity."""
    if found is None or found == new.capacity:
        return ""
    return f", which keeps its capacity of {found}: `vyris drop resize` would make it {new.capacity}"


async def _read(tier: str | None, year: str | None) -> list[dict[str, Any]]:
    async with backends.database() as database:
        return await drop_desk.list_drops(database, tier, year)


def _checked_name(tier: str, year: str) -> tuple[str, str]:
    """Parse a drop's name as a person types it: `Genesis`, or with a blank at its end."""
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
