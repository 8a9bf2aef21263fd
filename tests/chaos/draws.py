"""Runs in draw mode: a draw from its entries to its waves, under faults, and a checker of its own.

It does not know the faults: the rules of `check_draw` hold in every run. An answer that never came widens a
bound, and is never ignored.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc
import httpx

from services.draw import maths
from services.draw.chains import Chain
from services.mint.drops import Drop
from stack.local import Stack
from tests.chaos.checker import Violation
from tests.chaos.clients import CALL_LIMIT_S, Clients
from tests.chaos.cluster import MINTS, Cluster, proxied
from tests.chaos.faults import FAULTS, Scene
from tests.chaos.faults.failpoints import ACTIONS, DRAW_POINTS, failpoint
from tests.chaos.faults.scene import Inflict
from tests.chaos.history import FULFILLED, UNKNOWN, Operation
from tests.chaos.schedule import PlannedFault, drawn_faults
from tests.development_draw import CHALLENGE_S, announce_draw, beacon_of
from vyris.draw.v1 import draw_pb2, draw_pb2_grpc
from vyris.error_wire import from_rpc_error
from vyris.errors import Retryable

YEAR = "2034"
OPEN_S, ROUND_AFTER_S, OFFER_S = 5.0, 3, 2
# Faults meet the entries, the close, the round and the first offers.
FAULTS_SPREAD = 2.2
FAULT_LIMIT_S = 30.0
DRAWN_LIMIT_S = 45.0
WAVES_S = 8.0
WORKERS = 24
ENTERED, CLOSED = "ENTERED", "DROP_NOT_OPEN"


@dataclass
class Entrant:
    """A person, and how the service answered."""

    user: str
    copies: int
    withdraws: bool
    abandons: bool
    outcome: str = UNKNOWN
    entry: dict[str, Any] = field(default_factory=dict)
    withdrawn: str = ""  # the answer to the withdrawal
    minted: list[Operation] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)


@dataclass
class Night:
    """A recorded run, and what it drained to."""

    drop: Drop
    capacity: int
    entrants: list[Entrant]
    chain: Chain
    documents: list[dict[str, Any]] = field(default_factory=list)
    leaves: list[str] = field(default_factory=list)
    withdrawn: list[str] = field(default_factory=list)
    offers: list[dict[str, Any]] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)  # holds, with the rank of their entry
    counts: dict[str, int] = field(default_factory=dict)


@dataclass
class DrawResult:
    """What a run did and found."""

    seed: int
    faults: list[str]
    entered: int
    unknown: int
    offers: int
    refused: int  # checkpoints that were too late for their round
    took_s: float
    violations: list[Violation]


class DrawRun:
    """One draw and its people."""

    def __init__(self, cluster: Cluster, clients: Clients, night: Night, rng: random.Random) -> None:
        self._cluster = cluster
        self._clients = clients
        self._night = night
        self._rng = rng
        self._stub = draw_pb2_grpc.DrawServiceStub(clients._channel)
        self._path = f"/drops/{night.drop.tier}/{night.drop.year}"

    async def enter_all(self) -> None:
        """Everybody at his time, some of them at the very close."""

        async def come(number: int, entrant: Entrant) -> None:
            await asyncio.sleep(OPEN_S * (number + 1) / len(self._night.entrants))
            await asyncio.gather(*(self._enter(entrant) for _ in range(entrant.copies)))
            if entrant.withdraws and entrant.outcome == ENTERED:
                entrant.withdrawn = await self._withdraw(entrant)

        await asyncio.gather(*(come(number, entrant) for number, entrant in enumerate(self._night.entrants)))

    async def _enter(self, entrant: Entrant) -> None:
        """Ask until there is a final answer, after the close too."""
        until_s = time.monotonic() + DRAWN_LIMIT_S
        while time.monotonic() < until_s:
            outcome, entry = await self._ask(entrant.user)
            entrant.answers.append(outcome)
            if outcome != UNKNOWN:
                if entrant.outcome != ENTERED:
                    entrant.outcome = outcome
                if outcome == ENTERED and entrant.entry and entrant.entry["id"] != entry["id"]:
                    entrant.outcome = "TWO_ENTRIES"
                entrant.entry = entrant.entry or entry
                return
            await asyncio.sleep(self._rng.uniform(0.1, 0.4))

    async def _ask(self, user: str) -> tuple[str, dict[str, Any]]:
        if self._rng.random() < 0.6:
            try:
                answer = await self._clients.http.post(f"{self._path}/entries", json={"user_id": user})
                body = answer.json()
            except (httpx.HTTPError, ValueError):
                return UNKNOWN, {}
            if answer.status_code == httpx.codes.CREATED:
                return ENTERED, body["entry"]
            return (UNKNOWN if body["error"] == "RETRYABLE" else body["error"]), {}
        drop = self._night.drop
        request = draw_pb2.EnterRequest(tier=drop.tier, year=drop.year, user_id=user)
        try:
            entry = (await self._stub.Enter(request, timeout=CALL_LIMIT_S)).entry
        except grpc.aio.AioRpcError as error:
            refusal = from_rpc_error(error.code(), error.details() or "", tuple(error.trailing_metadata() or ()))
            return (UNKNOWN if refusal is None or isinstance(refusal, Retryable) else refusal.reason), {}
        return ENTERED, {"id": entry.id, "salt": entry.salt, "leaf_hash": entry.leaf_hash}

    async def _withdraw(self, entrant: Entrant) -> str:
        body = {"entry_id": entrant.entry["id"], "user_id": entrant.user}
        try:
            answer = await self._clients.http.post("/entries/withdraw", json=body)
            body = answer.json()
        except (httpx.HTTPError, ValueError):
            return UNKNOWN
        if answer.status_code == httpx.codes.OK:
            return "WITHDRAWN"
        return UNKNOWN if body["error"] == "RETRYABLE" else str(body["error"])

    async def watch(self, state: str, limit_s: float) -> bool:
        """Record each document until one says `state`."""
        until_s = time.monotonic() + limit_s
        while time.monotonic() < until_s:
            document = await self._get("")
            if document is not None:
                if document not in self._night.documents:
                    self._night.documents.append(document)
                if document["state"] in {state, "DONE"}:
                    return True
            await asyncio.sleep(0.2)
        return False

    async def sell(self) -> None:
        """Winners pay or let their offers lapse, wave by wave."""
        until_s = time.monotonic() + WAVES_S
        waiting = [one for one in self._night.entrants if one.outcome == ENTERED and one.withdrawn != "WITHDRAWN"]

        async def buyer() -> None:
            while waiting and time.monotonic() < until_s:
                entrant = waiting.pop(0)
                held = await self._clients.hold("http" if self._rng.random() < 0.6 else "grpc", entrant.user)
                if held.outcome != "HELD":
                    waiting.append(entrant)
                    await asyncio.sleep(0.1)
                elif not entrant.abandons:
                    await self._pay(entrant, until_s)

        await asyncio.gather(*(buyer() for _ in range(WORKERS)))

    async def _pay(self, entrant: Entrant, until_s: float) -> None:
        while time.monotonic() < until_s:
            via = "http" if self._rng.random() < 0.6 else "grpc"
            paid = await self._clients.mint(via, f"{self._night.drop.tier}-{entrant.user}", entrant.user)
            entrant.minted.append(paid)
            if paid.outcome != UNKNOWN:
                return
            await asyncio.sleep(0.1)

    async def read(self) -> None:
        """What everybody can read, and what Postgres holds."""
        night = self._night
        await self.watch("never", 1.0)
        for kind, name, found in (
            ("leaves", "leaves", night.leaves),
            ("withdrawn", "leaves", night.withdrawn),
            ("offers", "offers", night.offers),
        ):
            page = 0
            while (listed := await self._get(f"/{kind}/{page}")) is not None:
                found.extend(listed[name])
                page += 1
        async with self._cluster.direct() as connection:
            night.rows = [dict(row) for row in await connection.fetch(HOLDS, night.drop.id)]
            night.counts = dict(await connection.fetchrow(COUNTS, night.drop.id) or {})

    async def _get(self, path: str) -> dict[str, Any] | None:
        try:
            answer = await self._clients.http.get(f"{self._path}/draw{path}")
            return dict(answer.json()) if answer.status_code == httpx.codes.OK else None
        except (httpx.HTTPError, ValueError):
            return None


HOLDS = """
SELECT h.user_id, h.sequence_num, h.state::text AS state, o.rank, o.sequence_num AS offered, m.sequence_num AS minted,
       m.user_id AS member
FROM holds h LEFT JOIN draw_offers o ON o.hold_id = h.id LEFT JOIN memberships m ON m.id = h.membership_id
WHERE h.drop_id = $1
"""
COUNTS = """
SELECT (SELECT count(*) FROM slots WHERE drop_id = d.id) AS slots,
       (SELECT count(*) FROM holds WHERE drop_id = d.id AND state = 'HELD') AS held,
       (SELECT count(*) FROM memberships WHERE drop_id = d.id) AS minted,
       (SELECT count(DISTINCT sequence_num) FROM memberships WHERE drop_id = d.id) AS numbers,
       (SELECT sum(taken) FROM drop_tallies WHERE drop_id = d.id) AS tallied,
       (SELECT sum(held) FROM drop_tallies WHERE drop_id = d.id) AS tallied_held
FROM drops d WHERE id = $1
"""


def check_draw(night: Night) -> list[Violation]:
    """Every rule that a run broke."""
    rules: list[Callable[[Night], Iterator[str]]] = [the_draw_never_changes]
    last = night.documents[-1] if night.documents else {}
    if last.get("entries_root"):
        rules.append(entries_are_in_the_tree)
    if last.get("seed"):
        rules += [the_round_is_the_beacons, order_and_numbers_are_the_formulas, offers_are_in_turn, mints_are_offers]
    violations = [Violation(rule.__name__, problem) for rule in rules for problem in rule(night)]
    return violations if last.get("seed") else [*violations, Violation("liveness", "the draw never happened")]


def entries_are_in_the_tree(night: Night) -> Iterator[str]:
    """Each 201 is in the tree, unless it was withdrawn; no 409 is; each user is there once."""
    tree, withdrawn = set(night.leaves), set(night.withdrawn)
    if len(tree) != len(night.leaves):
        yield "a leaf is in the tree twice"
    for one in night.entrants:
        leaf = one.entry.get("leaf_hash", "")
        if one.outcome == CLOSED and ENTERED in one.answers:
            yield f"{one.user} was answered with {one.answers}"
        elif one.outcome == ENTERED and one.withdrawn == "WITHDRAWN" and (leaf in tree or leaf not in withdrawn):
            yield f"{one.user} withdrew and is in the tree"
        elif one.outcome == ENTERED and one.withdrawn in {"", CLOSED} and leaf not in tree:
            yield f"{one.user} entered and is not in the tree"
        elif one.outcome not in {ENTERED, CLOSED, UNKNOWN}:
            yield f"{one.user} was answered with {one.answers}"
    known = sum(one.outcome in {ENTERED, UNKNOWN} for one in night.entrants)
    if len(tree) + len(withdrawn) > known:
        yield f"{len(tree)} + {len(withdrawn)} leaves of {known} people"


def the_draw_never_changes(night: Night) -> Iterator[str]:
    """What was once said of root, round and seed stays; only a refused checkpoint is followed by another."""
    for name in ("terms", "terms_hash", "entries_root", "signature", "seed"):
        said = {document[name] for document in night.documents if document[name]}
        if len(said) > 1:
            yield f"{name} was {said}"
    checkpoints = {document["checkpoint"] for document in night.documents if document["checkpoint"]}
    if not night.documents:
        return
    last = night.documents[-1]
    explained = {last["checkpoint"], *(one["checkpoint"] for one in last["refused"])}
    if not checkpoints <= explained:
        yield "a checkpoint was public, and is nowhere explained"
    rounds = [*(one["round"] for one in last["refused"]), last["beacon"]["round"]]
    if rounds != sorted(set(rounds)):
        yield f"the rounds were {rounds}"
    ranks = [document["offered_rank"] for document in night.documents]
    if ranks != sorted(ranks):
        yield f"the offered ranks were {ranks}"


def the_round_is_the_beacons(night: Night) -> Iterator[str]:
    """The beacon signed the round in force with the published signature."""
    last = night.documents[-1]
    if not night.chain.verifies(last["beacon"]["round"], bytes.fromhex(last["signature"])):
        yield f"the signature is not that of round {last['beacon']['round']}"


def order_and_numbers_are_the_formulas(night: Night) -> Iterator[str]:
    """A stranger's computation."""
    last = night.documents[-1]
    leaves = [bytes.fromhex(leaf) for leaf in night.leaves]
    root = maths.LeafTree(leaves).root
    if root.hex() != last["entries_root"] or len(leaves) != last["entries"]:
        yield "the leaves do not lead to the root"
    terms_hash = maths.terms_hash_of(last["terms"])
    seed = maths.draw_seed(terms_hash, root, len(leaves), bytes.fromhex(last["signature"]))
    if (terms_hash.hex(), seed.hex()) != (last["terms_hash"], last["seed"]):
        yield "terms or seed are not what the formulas say"
    order = [leaf.hex() for leaf in maths.ranked(seed, leaves)]
    # The list was read after the document: another wave may have come between the two.
    if (
        len(night.offers) < last["offered_rank"]
        or [one["leaf_hash"] for one in night.offers] != order[: len(night.offers)]
    ):
        yield "the offers are not those of the first ranks"
    numbers = maths.ordered_numbers(seed, range(1, night.capacity + 1))
    first = [one["number"] for one in night.offers if one["wave"] == 1]
    if first != numbers[: min(night.capacity, len(leaves))]:
        yield "the first wave's numbers are not in their order"
    place = {number: n for n, number in enumerate(numbers)}
    for wave in {one["wave"] for one in night.offers}:
        given = [place[one["number"]] for one in night.offers if one["wave"] == wave]
        if given != sorted(set(given)):
            yield f"the numbers of wave {wave} are not in their order"


def offers_are_in_turn(night: Night) -> Iterator[str]:
    """Ranks without a gap, waves in turn; a number goes on only from a rank that has lost it."""
    if [one["rank"] for one in night.offers] != list(range(1, len(night.offers) + 1)):
        yield "a rank is missing"
    waves = [one["wave"] for one in night.offers]
    if waves != sorted(waves):
        yield f"the waves are {waves}"
    by_rank = {row["rank"]: row for row in night.rows}
    for one in night.offers:
        later = [o["rank"] for o in night.offers if o["number"] == one["number"] and o["rank"] > one["rank"]]
        if later and by_rank[one["rank"]]["state"] in {"HELD", "USED"}:
            yield f"number {one['number']} went from rank {one['rank']} to {later}, and was not free"


def mints_are_offers(night: Night) -> Iterator[str]:
    """Who minted had the offer of that number; the numbers add up."""
    for row in night.rows:
        if row["rank"] is None or row["sequence_num"] != row["offered"]:
            yield f"a hold without an offer: {row}"
        if (row["state"] == "USED") != (row["minted"] == row["sequence_num"] and row["member"] == row["user_id"]):
            yield f"an offer became another membership: {row}"
    used = {row["user_id"]: row["sequence_num"] for row in night.rows if row["state"] == "USED"}
    for one in night.entrants:
        for paid in one.minted:
            if paid.outcome == FULFILLED and used.get(one.user) != paid.sequence_num:
                yield f"{one.user} was answered with number {paid.sequence_num}, and has {used.get(one.user)}"
    counts = night.counts
    if counts["slots"] + counts["held"] + counts["minted"] != night.capacity or counts["numbers"] != counts["minted"]:
        yield f"the numbers do not add up to {night.capacity}: {counts}"
    if (counts["tallied"], counts["tallied_held"]) != (counts["minted"] + counts["held"], counts["held"]):
        yield f"the tallies are wrong: {counts}"


def run_draws(
    stack: Stack, seeds: Iterable[int], variant: str = "", step: Inflict | None = None
) -> Iterator[DrawResult]:
    """Run each seed on a started stack.

    `variant`: the broken variant that the mint processes run; then `step` is the only fault.
    """
    argv = dict.fromkeys(MINTS, ("-m", "tests.chaos.broken.mint", variant)) if variant else None

    async def one(seed: int) -> DrawResult:
        async with proxied(stack, argv) as cluster:
            return await run_draw(cluster, seed, faulty=not variant, step=step)

    for seed in seeds:
        yield asyncio.run(one(seed))


def people_of(seed: int) -> int:
    """How many people the run of a seed has."""
    return _size(random.Random(seed))[1]


def _size(rng: random.Random) -> tuple[int, int]:
    """How many numbers and people a run has."""
    capacity = rng.randint(3, 40)
    return capacity, max(1, int(capacity * rng.choice((0.5, 1.0, 1.5, 3.0, 6.0))))


async def run_draw(cluster: Cluster, seed: int, *, faulty: bool = True, step: Inflict | None = None) -> DrawResult:
    """Carry out the run that `seed` names. `faulty`: with the faults that it names, too."""
    began_s = time.monotonic()
    rng = random.Random(seed)
    capacity, people = _size(rng)
    faults = drawn_faults(seed, rng) if faulty else []
    if faulty:
        step = failpoint(rng.choice(DRAW_POINTS), rng.choice(ACTIONS))
    drop = await announce(cluster, f"chaos-draw-{seed}-{time.time_ns() % 1_000_000_000:x}", capacity)
    entrants = [
        Entrant(f"u{n}", rng.choice((1, 1, 1, 2, 3)), rng.random() < 0.08, rng.random() < 0.35) for n in range(people)
    ]
    night = Night(drop, capacity, entrants, beacon_of(cluster.stack))
    async with Clients(cluster, drop) as clients:
        run = DrawRun(cluster, clients, night, random.Random(rng.random()))
        breaking = asyncio.create_task(inflict(cluster, drop, faults, step, random.Random(rng.random())))
        watching = asyncio.create_task(run.watch("DRAWN", DRAWN_LIMIT_S + OPEN_S))
        await run.enter_all()
        await breaking
        await cluster.heal_everything()
        await watching
        await run.sell()
        await asyncio.sleep(OFFER_S)  # what was held in the end lapses, or not: both add up
        await run.read()
    return DrawResult(
        seed,
        [planned.kind for planned in faults],
        entered=sum(one.outcome == ENTERED for one in entrants),
        unknown=sum(answer == UNKNOWN for one in entrants for answer in one.answers),
        offers=len(night.offers),
        refused=len(night.documents[-1]["refused"]) if night.documents else 0,
        took_s=round(time.monotonic() - began_s, 1),
        violations=check_draw(night),
    )


async def inflict(
    cluster: Cluster, drop: Drop, faults: list[PlannedFault], step: Inflict | None, rng: random.Random
) -> None:
    """All planned faults, each at its time; they may overlap, and one may hinder another."""

    async def one(planned: PlannedFault) -> None:
        await asyncio.sleep(planned.at_s * FAULTS_SPREAD)
        scene = Scene(cluster, drop, random.Random(rng.random()), planned.hold_s)
        async with asyncio.timeout(FAULT_LIMIT_S):
            await FAULTS[planned.kind](scene)

    async def at_a_step() -> None:
        """At a point of the draw itself, from the close to the offers."""
        if step is not None:
            await asyncio.sleep(OPEN_S - 1)
            scene = Scene(cluster, drop, random.Random(rng.random()), CHALLENGE_S + ROUND_AFTER_S + 2)
            await step(scene)

    await asyncio.gather(at_a_step(), *(one(planned) for planned in faults), return_exceptions=True)


async def announce(cluster: Cluster, tier: str, capacity: int) -> Drop:
    """Announce a draw that closes in seconds."""
    async with cluster.direct() as connection:
        drop_id = await announce_draw(
            connection,
            cluster.stack,
            (tier, YEAR),
            capacity,
            open_s=OPEN_S - 0.3,
            round_after_s=CHALLENGE_S + ROUND_AFTER_S,
            offer_s=OFFER_S,
        )
    return Drop(drop_id, tier, YEAR, "production", "draw", frozenset({"user"}))


def describe(result: DrawResult) -> str:
    """A line about a run."""
    shown = {name: value for name, value in vars(result).items() if name != "violations"}
    return json.dumps({**shown, "violations": [f"{one.rule}: {one.detail}" for one in result.violations]})
