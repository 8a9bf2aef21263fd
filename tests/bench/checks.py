"""What must be true of a run for its figures to count.

The suite and the baselines name these columns alike, so one statement asks both.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import asyncpg
import httpx

from services.mint.revocation import revoke
from tests.bench import sql
from tests.bench.drops import YEAR
from tests.bench.measurement import Measurement
from tests.bench.subject import BASELINE, COPY, GO, SUITE, Subject

# What was under way when the load generator hung up is finished by then.
SETTLE_S = 0.7
DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
RUN_COUNTS = """
SELECT (SELECT count(*) FROM receipt_ledger WHERE user_id LIKE $1) AS receipts,
       (SELECT count(*) FROM receipt_ledger WHERE user_id LIKE $1 AND state = 'FULFILLED') AS fulfilled,
       (SELECT count(*) FROM memberships WHERE user_id LIKE $1) AS memberships,
       (SELECT count(DISTINCT (drop_id, sequence_num)) FROM memberships WHERE user_id LIKE $1) AS numbers
"""


@dataclass(frozen=True)
class Check:
    """One fact about the run."""

    what: str
    passed: bool
    detail: str


@dataclass
class Checks:
    """What was checked so far."""

    made: list[Check] = field(default_factory=list)

    def note(self, what: str, *, passed: bool, detail: str) -> None:
        """Write one down."""
        self.made.append(Check(what, passed, detail))

    @property
    def passed(self) -> bool:
        """Whether none failed."""
        return all(check.passed for check in self.made)

    def condensed(self) -> list[Check]:
        """One check for each fact: of several rounds the first that failed, else the last."""
        by_fact: dict[str, list[Check]] = {}
        for check in self.made:
            by_fact.setdefault(check.what, []).append(check)
        return [next((one for one in rounds if not one.passed), rounds[-1]) for rounds in by_fact.values()]

    def mints(self, subject: Subject, run: str, measured: Measurement) -> None:
        """Each answer of 201 is one fulfilled receipt, one membership and one number.

        More than the answers may be fulfilled only by what was under way when the generator hung up: at most one
        request a connection.
        """
        if not subject.database_url:
            return
        time.sleep(SETTLE_S)
        counts = sql.fetch(subject.database_url, RUN_COUNTS, f"user-{run}-%")[0]
        minted = measured.load.answers - measured.load.refusals
        unheard = counts["fulfilled"] - minted
        self.note(
            f"{subject.name}: ledger rows equal answers ({measured.workload}, {measured.connections} connections)",
            passed=0 <= unheard <= measured.connections
            and counts["fulfilled"] == counts["memberships"] == counts["numbers"]
            and counts["receipts"] <= measured.load.sent
            and measured.load.refusals == 0,
            detail=f"{minted} answers of 201; {counts['fulfilled']} fulfilled receipts, {counts['memberships']} "
            f"memberships, {counts['numbers']} numbers; {unheard} under way when the generator hung up; "
            f"{measured.load.refusals} refusals",
        )

    def sold_out(self, subject: Subject, run: str, measured: Measurement) -> None:
        """Each answer is a refusal, and each refused receipt is in the ledger with its reason."""
        if not subject.database_url:
            return
        time.sleep(SETTLE_S)
        written = sql.value(
            subject.database_url,
            "SELECT count(*) FROM receipt_ledger WHERE user_id LIKE $1 AND state = 'FAILED' AND reason = 'SOLD_OUT'",
            f"user-{run}-%",
        )
        load = measured.load
        self.note(
            f"{subject.name}: every SOLD_OUT is in the ledger ({measured.connections} connections)",
            passed=load.refusals == load.answers and 0 <= written - load.answers <= measured.connections,
            detail=f"{load.answers} answers, {load.refusals} of them 410; {written} receipts FAILED with SOLD_OUT",
        )

    def accepted(self, subject: Subject, measured: Measurement) -> None:
        """No request was refused."""
        load = measured.load
        self.note(
            f"{subject.name}: nothing refused ({measured.workload}, {measured.connections} connections)",
            passed=load.refusals == 0 and load.broken == 0 and load.timeouts == 0,
            detail=f"{load.answers} answers, {load.refusals} refusals, {load.broken + load.timeouts} failures",
        )

    def durable(self, database_url: str) -> None:
        """Commits reach the disk before they are acknowledged."""
        found = {name: str(sql.fetch(database_url, f"SHOW {name}")[0][0]) for name in DURABLE}
        overridden = sql.value(
            database_url,
            "SELECT count(*) FROM pg_db_role_setting, unnest(setconfig) AS one WHERE one ~ 'synchronous_commit|fsync'",
        )
        self.note("commits are durable", passed=found == DURABLE and overridden == 0, detail=str(found))


class RevokedDuringRun:
    """Mints a receipt, revokes its membership beside the load, and asks again.

    No answer may come from a process's memory that Postgres would not give.
    """

    def __init__(self, subject: Subject, checks: Checks, run: str, tier: str) -> None:
        self._subject = subject
        self._checks = checks
        self._body = {"receipt_data": f"revoked-{run}", "user_id": f"revoked-{run}", "tier": tier, "year": YEAR}
        self._membership_id = UUID(self._ask(201)["membership"]["id"])

    def __call__(self) -> None:
        """Called while the load is on."""
        before = self._ask(201)
        sql_revoke(self._subject, self._membership_id)
        status = httpx.post(f"{self._subject.url}/mint", json=self._body, timeout=15, trust_env=False).status_code
        self._checks.note(
            f"{self._subject.name}: a receipt revoked during the run is refused on replay",
            passed=before["replayed"] is True and status == 422,
            detail=f"replayed before: {before['replayed']}; answer after the revocation: {status}",
        )

    def _ask(self, expected: int) -> dict[str, Any]:
        answer = httpx.post(f"{self._subject.url}/mint", json=self._body, timeout=15, trust_env=False)
        if answer.status_code != expected:
            raise RuntimeError(f"{self._subject.name} answered {answer.status_code}: {answer.text}")
        body: dict[str, Any] = answer.json()
        return body


def sql_revoke(subject: Subject, membership_id: UUID) -> None:
    """Revoke as the operator's command does; in the baselines' schema it is one column."""
    if subject.name in {BASELINE, GO}:
        sql.fetch(subject.database_url, "UPDATE memberships SET revoked_at = now() WHERE id = $1", membership_id)
    elif subject.name in {SUITE, COPY}:
        sql.in_transaction(subject.database_url, _revocation_of(membership_id))


def _revocation_of(membership_id: UUID) -> sql.Work:
    async def work(connection: asyncpg.Connection[asyncpg.Record]) -> object:
        return await revoke(
            connection,  # type: ignore[arg-type]  # a plain connection instead of a pool's
            membership_id,
            reason="benchmark",
            actor="benchmark",
            frees_number=False,
        )

    return work
