"""Read the state after a run has drained."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

from services.mint.drops import Drop
from services.mint.receipts.verified import receipt_key
from tests.chaos.cluster import Cluster
from tests.chaos.history import Drained, HoldRow, LedgerRow, MembershipRow
from tests.chaos.owners import mails_to
from tests.chaos.recorder import Sampler

DRAIN_LIMIT_S = 20.0
POLL_S = 0.1


def key_of(receipt: str) -> bytes:
    """The ledger's key of an opaque receipt."""
    return receipt_key("opaque", "", receipt)


async def wait_until_drained(cluster: Cluster, sampler: Sampler, drop: Drop) -> float | None:
    """Wait until no receipt is PENDING and Redis agrees; seconds until Redis agreed, or None where it never did."""
    began_s = time.monotonic()
    agreed_s: float | None = None
    while time.monotonic() - began_s < DRAIN_LIMIT_S:
        sample = await sampler.once()
        if agreed_s is None and sample.redis == sample.unclaimed:
            agreed_s = time.monotonic() - began_s
        async with cluster.direct() as connection:
            pending = await connection.fetchval(
                "SELECT count(*) FROM receipt_ledger WHERE drop_id = $1 AND state = 'PENDING'", drop.id
            )
            ending = await connection.fetchval(
                "SELECT count(*) FROM holds WHERE drop_id = $1 AND state = 'HELD' AND receipt_key IS NULL", drop.id
            )
        if agreed_s is not None and not pending and not ending:
            break
        await asyncio.sleep(POLL_S)
    return agreed_s


async def read_drained(
    cluster: Cluster,
    drop: Drop,
    capacity: int,
    receipts: Iterable[str],
    *,
    unsettled: Iterable[str],
    serving_after_s: float,
    drift_zero_after_s: float | None,
    redis_count: int | None,
    met: Iterable[str] = (),
    addresses: Iterable[str] = (),
) -> Drained:
    """Everything about the drop, in one snapshot."""
    names = {key_of(receipt): receipt for receipt in receipts}
    async with cluster.direct() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        slots = await connection.fetch("SELECT sequence_num FROM slots WHERE drop_id = $1", drop.id)
        tallied = await connection.fetchval("SELECT sum(taken) FROM drop_tallies WHERE drop_id = $1", drop.id)
        memberships = await connection.fetch("SELECT * FROM memberships WHERE drop_id = $1", drop.id)
        holds = await connection.fetch("SELECT * FROM holds WHERE drop_id = $1", drop.id)
        keys = await connection.fetch(
            "SELECT held_by FROM person_keys WHERE drop_id = $1 AND held_by IS NOT NULL", drop.id
        )
        ledger = await connection.fetch(
            "SELECT * FROM receipt_ledger WHERE drop_id = $1 OR receipt_key = ANY ($2::bytea[])", drop.id, list(names)
        )
        devices = await connection.fetch(
            "SELECT membership_id FROM devices d JOIN memberships m ON m.id = d.membership_id "
            "WHERE m.drop_id = $1 AND d.retired_at IS NULL",
            drop.id,
        )
        encounters = await connection.fetch("SELECT jti FROM encounters WHERE jti = ANY ($1::text[])", list(met))
    return Drained(
        capacity=capacity,
        slots=tuple(row["sequence_num"] for row in slots),
        tallied=tallied,
        redis=redis_count,
        memberships=tuple(
            MembershipRow(
                id=str(row["id"]),
                sequence_num=row["sequence_num"],
                pass_serial=str(row["pass_serial"]),
                receipt=names.get(row["receipt_key"], row["receipt_key"].hex()),
                user=row["user_id"],
                revoked=row["revoked_at"] is not None,
                number_freed=row["number_freed"],
            )
            for row in memberships
        ),
        ledger=tuple(
            LedgerRow(
                receipt=names.get(row["receipt_key"], row["receipt_key"].hex()),
                state=row["state"],
                reason=row["reason"],
                user=row["user_id"] or "",
            )
            for row in ledger
        ),
        holds=tuple(
            HoldRow(
                id=str(row["id"]),
                user=row["user_id"],
                sequence_num=row["sequence_num"],
                state=row["state"],
                membership_id=str(row["membership_id"] or ""),
                receipt=names.get(row["receipt_key"], row["receipt_key"].hex()) if row["receipt_key"] else "",
            )
            for row in holds
        ),
        counted_for=tuple(str(row["held_by"]) for row in keys),
        active_devices=tuple(str(row["membership_id"]) for row in devices),
        encounters=tuple(row["jti"] for row in encounters),
        mailed=tuple(address for address in addresses if mails_to(cluster, address)),
        unsettled=tuple(unsettled),
        serving_after_s=serving_after_s,
        drift_zero_after_s=drift_zero_after_s,
    )
