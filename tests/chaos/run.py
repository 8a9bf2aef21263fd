"""One run: a new drop, a load, faults, healing, draining, and the checker's verdict."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from admin.drops import Drop, NewDrop, create_drop
from tests.chaos.checker import Violation, check
from tests.chaos.clients import Clients
from tests.chaos.cluster import Cluster
from tests.chaos.drained import read_drained, wait_until_drained
from tests.chaos.faults import FAULTS, Scene
from tests.chaos.history import FULFILLED, UNKNOWN, History
from tests.chaos.owners import Owners
from tests.chaos.recorder import Sampler
from tests.chaos.schedule import PlannedFault, drawn_faults
from tests.chaos.workload import Plan, Workload

YEAR = "2030"
PACE_S = 5.0
FAULT_LIMIT_S = 30.0
SERVING_WAIT_S = 30.0
SETTLE_LIMIT_S = 25.0

log = structlog.get_logger(__name__)
DrawFaults = Callable[[int, random.Random], list[PlannedFault]]


@dataclass(slots=True)
class RunResult:
    """The result of a run."""

    seed: int
    faults: dict[str, int]
    operations: int
    mints: int
    unknown: int
    capacity: int
    serving_after_s: float
    drift_zero_after_s: float | None
    took_s: float
    violations: list[Violation] = field(default_factory=list)


async def run_once(
    cluster: Cluster,
    seed: int,
    *,
    capacity_limit: int,
    draw_faults: DrawFaults = drawn_faults,
    sale: str | None = None,
) -> tuple[RunResult, History]:
    """Run the plan of `seed`. Every third one sells by hold, unless `sale` is given."""
    began_s = time.monotonic()
    rng = random.Random(seed)
    name = f"chaos-{seed}-{time.time_ns() % 1_000_000_000:x}"
    plan = Plan.drawn(rng, capacity_limit, name, sale or ("hold" if seed % 3 == 0 else "direct"))
    faults = draw_faults(seed, rng)
    history = History(name=name)
    drop = await _fresh_drop(cluster, name, plan)
    async with Clients(cluster, drop) as clients:
        workload = Workload(cluster, drop, clients, plan, history, random.Random(rng.random()))
        sampler = Sampler(cluster, drop, history)
        sampling = asyncio.create_task(sampler.run())
        owners = Owners(cluster, clients, history, name)
        owning = asyncio.create_task(owners.run())
        buying = asyncio.create_task(workload.run(PACE_S))
        await _inflict(cluster, drop, faults, rng)
        await cluster.heal_everything()
        workload.hurry()
        healed_s = time.monotonic()
        serving_after_s = await _serving_again(clients, history, healed_s)
        owners.stop()
        await buying
        await owning
        unsettled = await workload.settle(SETTLE_LIMIT_S)
        drift_zero_after_s = await wait_until_drained(cluster, sampler, drop)
        sampler.stop()
        await sampling
    last = await sampler.once()
    history.drained = await read_drained(
        cluster,
        drop,
        plan.capacity,
        {operation.subject for operation in history.operations if operation.kind == "mint"},
        unsettled=unsettled,
        serving_after_s=serving_after_s,
        drift_zero_after_s=drift_zero_after_s,
        redis_count=last.redis,
        met=owners.met,
        addresses=owners.addresses,
    )
    violations = await asyncio.to_thread(check, history)
    if not violations:
        await _forget(cluster, drop)
    outcomes = Counter(o.outcome for o in history.operations if o.kind == "mint")
    return (
        RunResult(
            seed=seed,
            faults=dict(Counter(planned.kind for planned in faults)),
            operations=len(history.operations),
            mints=len({o.subject for o in history.operations if o.outcome == FULFILLED}),
            unknown=outcomes[UNKNOWN],
            capacity=plan.capacity,
            serving_after_s=round(serving_after_s, 2),
            drift_zero_after_s=drift_zero_after_s and round(drift_zero_after_s, 2),
            took_s=round(time.monotonic() - began_s, 1),
            violations=violations,
        ),
        history,
    )


async def _inflict(cluster: Cluster, drop: Drop, faults: list[PlannedFault], rng: random.Random) -> None:
    """Inflict all planned faults, each at its time; they may overlap."""

    async def one(planned: PlannedFault) -> None:
        await asyncio.sleep(planned.at_s)
        scene = Scene(cluster, drop, random.Random(rng.random()), planned.hold_s)
        try:
            async with asyncio.timeout(FAULT_LIMIT_S):
                await FAULTS[planned.kind](scene)
        except Exception as error:
            # Another fault may prevent this one: without Postgres no lock can be taken.
            log.info("fault_hindered", kind=planned.kind, error=repr(error))

    await asyncio.gather(*(one(planned) for planned in faults))


async def _serving_again(clients: Clients, history: History, healed_s: float) -> float:
    """Seconds from healing until JSON and gRPC each gave a final answer to a new buyer."""

    async def serves(via: str) -> None:
        while time.monotonic() < healed_s + SERVING_WAIT_S:
            operation = await clients.mint(via, f"{history.name}-canary-{via}", f"canary-{via}")
            history.operations.append(operation)
            if operation.outcome != UNKNOWN:
                return
            await asyncio.sleep(0.05)

    await asyncio.gather(serves("http"), serves("grpc"))
    return time.monotonic() - healed_s


async def _fresh_drop(cluster: Cluster, tier: str, plan: Plan) -> Drop:
    new = NewDrop(tier, YEAR, plan.capacity, sale=plan.sale, hold_ttl_s=1, hold_attempts=1_000)
    async with cluster.direct() as connection, connection.transaction():
        drop_id = await create_drop(connection, new)  # type: ignore[arg-type]
    assert drop_id is not None
    return Drop(drop_id, tier, YEAR, "production", plan.sale)


FORGET = """
DELETE FROM contacts USING memberships m WHERE membership_id = m.id AND m.drop_id = {drop};
DELETE FROM devices USING memberships m WHERE membership_id = m.id AND m.drop_id = {drop};
DELETE FROM membership_events USING memberships m WHERE membership_id = m.id AND m.drop_id = {drop};
DELETE FROM memberships WHERE drop_id = {drop};
DELETE FROM receipt_ledger WHERE drop_id = {drop};
DELETE FROM slots WHERE drop_id = {drop};
DELETE FROM holds WHERE drop_id = {drop};
DELETE FROM person_keys WHERE drop_id = {drop};
DELETE FROM late_payments WHERE drop_id = {drop};
DELETE FROM drop_secrets WHERE drop_id = {drop};
DELETE FROM drop_tallies WHERE drop_id = {drop};
DELETE FROM drops WHERE id = {drop};
"""


async def _forget(cluster: Cluster, drop: Drop) -> None:
    """Remove a drop after its run, so that the next run has the same conditions."""
    with contextlib.suppress(Exception):
        async with cluster.direct() as connection, connection.transaction():
            await connection.execute("SET LOCAL session_replication_role = replica")
            await connection.execute(FORGET.format(drop=drop.id))
