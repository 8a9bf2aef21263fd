"""Runs in draw mode: a draw from its entries to its waves, under faults, judged by `draw_checker`."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import httpx

from services.mint.drops import Drop
from stack.local import Stack
from tests.chaos.checker import Violation
from tests.chaos.clients import CALL_LIMIT_S, Clients
from tests.chaos.cluster import MINTS, Cluster, proxied
from tests.chaos.draw_checker import ENTERED, Entrant, Night, check_draw
from tests.chaos.faults import FAULTS, Scene
from tests.chaos.faults.failpoints import ACTIONS, DRAW_POINTS, failpoint
from tests.chaos.faults.scene import Inflict
from tests.chaos.history import UNKNOWN
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
        self._stub = draw_pb2_grpc.DrawServiceStub(clients.channel)
        self._path = f"/drops/{night.drop.tier}/{night.drop.year}"

    async def enter_all(self) -> None:
        """Let the entrants enter one after the other, the last ones at the close."""

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
