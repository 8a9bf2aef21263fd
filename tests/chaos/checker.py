"""The checker: what must be true of a recorded history and the state it drained to. Pure.

It knows nothing of the faults: these rules hold under each of them. An operation of unknown outcome
widens a bound; it is never ignored.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from tests.chaos.history import DONE, FULFILLED, HELD, UNKNOWN, Drained, History, MembershipRow, Operation

# SOLD_OUT may rest on a fact that is a second old.
SOLD_OUT_AGE_S: Final = 1.0
SERVING_LIMIT_S: Final = 5.0
DRIFT_LIMIT_S: Final = 15.0
FINAL: Final = {"SOLD_OUT", "RECEIPT_USED", "INVALID_RECEIPT"}


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken rule, and the sentence that says how."""

    rule: str
    detail: str


def check(history: History) -> list[Violation]:
    """Every violation in a history; a sound history has none."""
    if history.drained is None:
        return [Violation("liveness", "the run never drained")]
    return [Violation(rule.__name__, sentence) for rule in RULES for sentence in rule(history, history.drained)]


def capacity_is_kept(history: History, drained: Drained) -> Iterator[str]:
    """1. Live memberships never exceed the capacity, and reach it while there is paid demand."""
    for sample in history.samples:
        if sample.live > drained.capacity:
            yield f"{sample.live} live memberships at {sample.began_s:.3f} s of a capacity of {drained.capacity}"
    live = sum(not m.revoked for m in drained.memberships)
    revoked = {m.receipt for m in drained.memberships if m.revoked}
    sent = {operation.subject for operation in _mints(history)} - revoked
    # A buyer who gave up without an answer may have a membership, or may not.
    paid = {operation.subject for operation in _mints(history) if operation.outcome != UNKNOWN} - revoked
    held_by_revoked = sum(m.revoked and not m.number_freed for m in drained.memberships)
    free = drained.capacity - held_by_revoked
    unwanted = _freed_after_the_last_refusal(history)
    # A number may be held for a late payer who does not know it yet, or have come back after that buyer's last try.
    # A buyer without a hold may find all numbers held by others, or have reached the limit.
    waiting = {"HOLD_EXPIRED", "HELD_OUT", "LIMIT_REACHED"}
    late = {o.subject for o in _mints(history) if o.outcome in waiting} - {m.receipt for m in drained.memberships}
    paid -= late
    if not min(free - unwanted - len(late), len(paid)) <= live <= min(free, len(sent)):
        yield f"{live} live memberships at the end where {len(paid)} to {len(sent)} paid for {free}"


def _freed_after_the_last_refusal(history: History) -> int:
    """How many numbers came back too late for the last buyer who was refused."""
    last_refusal_s = max((o.began_s for o in _mints(history, "SOLD_OUT")), default=float("inf"))
    return sum(1 for _ in _between(_revocations(history), last_refusal_s - SOLD_OUT_AGE_S, float("inf")))


def numbers_are_unique(_: History, drained: Drained) -> Iterator[str]:
    """2. Live numbers and all pass serials are unique, and numbers lie within the capacity."""
    live = [m.sequence_num for m in drained.memberships if not m.revoked]
    yield from (f"number {number} has {count} owners" for number, count in Counter(live).items() if count > 1)
    for name, values in (
        ("pass serial", [m.pass_serial for m in drained.memberships]),
        ("membership id", [m.id for m in drained.memberships]),
    ):
        yield from (f"{name} {value} is there {count} times" for value, count in Counter(values).items() if count > 1)
    yield from (f"number {n} is outside of 1 to {drained.capacity}" for n in live if not 1 <= n <= drained.capacity)


def acknowledged_mints_stay(history: History, drained: Drained) -> Iterator[str]:
    """3a. An acknowledged mint is there at the end, and the same on every replay; its first answer is one."""
    rows = {m.id: m for m in drained.memberships}
    answers: dict[str, set[tuple[str, int, str]]] = defaultdict(set)
    firsts: Counter[str] = Counter()
    for operation in _mints(history, FULFILLED):
        answer = (operation.membership_id, operation.sequence_num, operation.pass_serial)
        answers[operation.subject].add(answer)
        firsts[operation.subject] += not operation.replayed
        row = rows.get(operation.membership_id)
        if row is None:
            yield f"{operation.subject}: the acknowledged membership {operation.membership_id} is gone"
        elif (row.id, row.sequence_num, row.pass_serial, row.receipt, row.user) != (
            *answer,
            operation.subject,
            operation.user,
        ):
            yield f"{operation.subject}: {row} is not what was acknowledged to {operation.user}: {answer}"
    yield from (f"{r}: replays differ: {sorted(given)}" for r, given in answers.items() if len(given) > 1)
    yield from (f"{r}: {count} answers say that they were the first" for r, count in firsts.items() if count > 1)


def one_membership_a_receipt(_: History, drained: Drained) -> Iterator[str]:
    """3b. Every receipt has at most one membership."""
    counts = Counter(m.receipt for m in drained.memberships)
    yield from (f"{receipt} has {count} memberships" for receipt, count in counts.items() if count > 1)


def refusals_stay_true(history: History, drained: Drained) -> Iterator[str]:
    """3c. A buyer with a final refusal has nothing, and the reason was true and stays true."""
    owners = {m.receipt: m for m in drained.memberships}
    revocations = _revocations(history)
    for operation in _mints(history):
        if operation.outcome not in FINAL:
            continue
        objection = _false_refusal(revocations, operation, owners.get(operation.subject))
        if objection:
            yield f"{operation.subject}: {operation.user} got {operation.outcome}, but {objection}"


def _false_refusal(revocations: list[Operation], refused: Operation, owner: MembershipRow | None) -> str:
    if refused.outcome == "RECEIPT_USED":
        if owner is None:
            return "nobody has a membership of it"
        return "it is theirs" if owner.user == refused.user else ""
    if refused.outcome == "INVALID_RECEIPT":
        revoked = any(owner and r.subject == owner.id for r in _between(revocations, 0.0, refused.ended_s))
        return "" if revoked else "it is genuine and was not revoked"
    freed_later = any(_between(revocations, refused.began_s - SOLD_OUT_AGE_S, float("inf")))
    return "it has a membership, and no number was freed" if owner is not None and not freed_later else ""


def sold_out_was_true(history: History, drained: Drained) -> Iterator[str]:
    """3d. SOLD_OUT is answered only if no slot was unclaimed, and none held, at some moment within the second before.

    Only a mint lowers the number of unclaimed and held ones, and only a revocation raises it. So the number
    in a later snapshot, less all that may have been freed since, was there all the time.
    """
    revocations = _revocations(history)
    for operation in (o for o in history.operations if o.kind in {"mint", "hold"} and o.outcome == "SOLD_OUT"):
        since_s = operation.began_s - SOLD_OUT_AGE_S
        for sample in history.samples:
            left = sample.unclaimed + sample.held
            if sample.began_s < operation.ended_s or left == 0:
                continue
            freed = sum(1 for _ in _between(revocations, since_s, sample.ended_s))
            if left > freed:
                yield f"{operation.subject}: SOLD_OUT at {operation.ended_s:.3f} s, {left} unclaimed or held later"
                break


def slots_are_conserved(history: History, drained: Drained) -> Iterator[str]:
    """4a. Unclaimed, held and claimed make up the capacity, in every snapshot, by rows and by the tallies."""
    for sample in history.samples:
        if sample.unclaimed + sample.held + sample.holding != drained.capacity:
            yield (
                f"{sample.unclaimed} unclaimed + {sample.held} held + {sample.holding} claimed "
                f"at {sample.began_s:.3f} s of a capacity of {drained.capacity}"
            )
        if (sample.tallied, sample.tallied_held) != (sample.holding + sample.held, sample.held):
            yield (
                f"the tallies say {sample.tallied} taken, {sample.tallied_held} held at {sample.began_s:.3f} s, "
                f"the memberships {sample.holding}, the holds {sample.held}"
            )
    held = [m.sequence_num for m in drained.memberships if not (m.revoked and m.number_freed)]
    held += [hold.sequence_num for hold in drained.holds if hold.state == HELD]
    if sorted([*drained.slots, *held]) != list(range(1, drained.capacity + 1)):
        missing = set(range(1, drained.capacity + 1)) - set(drained.slots) - set(held)
        yield f"slots and memberships are not 1 to {drained.capacity}; missing: {sorted(missing)[:10]}"
    if drained.tallied != len(held):
        yield f"the tallies say {drained.tallied} at the end, the memberships {len(held)}"


def redis_agrees_at_the_end(_: History, drained: Drained) -> Iterator[str]:
    """4b. Redis' count is Postgres' within seconds of healing."""
    if drained.drift_zero_after_s is None or drained.drift_zero_after_s > DRIFT_LIMIT_S:
        yield f"Redis said {drained.redis} where {len(drained.slots)} are unclaimed, {DRIFT_LIMIT_S} s after healing"


def ledger_accounts_for_all(history: History, drained: Drained) -> Iterator[str]:
    """5. Every receipt that passed step 1 is in the ledger once: FULFILLED with its membership, or with a reason."""
    counts = Counter(row.receipt for row in drained.ledger)
    yield from (f"{receipt} is in the ledger {count} times" for receipt, count in counts.items() if count > 1)
    entered = {o.subject for o in _mints(history) if o.outcome in {FULFILLED, "SOLD_OUT", "RECEIPT_USED"}}
    yield from (f"{receipt} was answered and is not in the ledger" for receipt in sorted(entered - set(counts)))
    owners = {m.receipt: m for m in drained.memberships}
    for row in drained.ledger:
        owner = owners.pop(row.receipt, None)
        if (row.state in {"FULFILLED", "REFUNDED", "REFUND_DUE"}) < (owner is not None):
            yield f"{row.receipt} is {row.state} ({row.reason}) and has a membership"
        elif row.state == "FULFILLED" and (owner is None or owner.user != row.user):
            yield f"{row.receipt} is FULFILLED for {row.user}, the membership is {owner}"
        elif row.state == "PENDING":
            yield f"{row.receipt} is PENDING at the end"
        elif row.state == "FAILED" and not row.reason:
            yield f"{row.receipt} is FAILED without a reason"
    yield from (f"the membership of {receipt} has no receipt in the ledger" for receipt in owners)


def acknowledged_holds_stay(history: History, drained: Drained) -> Iterator[str]:
    """7a. An acknowledged hold is there at the end and belongs to its user; nobody else ever got it."""
    rows = {hold.id: hold for hold in drained.holds}
    for operation in _holds(history, HELD):
        row = rows.get(operation.hold_id)
        if row is None or row.user != operation.user:
            yield f"hold {operation.hold_id} was acknowledged to {operation.user}, and is {row}"
    for operation in _holds(history):
        if operation.outcome not in {HELD, UNKNOWN, "HELD_OUT", "SOLD_OUT", "LIMIT_REACHED"}:
            yield f"{operation.user}: a hold was answered with {operation.outcome} {operation.status}"
    live = Counter(hold.user for hold in drained.holds if hold.state == HELD)
    yield from (f"{user} has {count} live holds" for user, count in live.items() if count > 1)


def holds_became_what_they_held(_: History, drained: Drained) -> Iterator[str]:
    """7b. A used hold is one membership, of its user and with its number; no other hold is any."""
    memberships = {m.id: m for m in drained.memberships}
    used = Counter(hold.membership_id for hold in drained.holds if hold.state == "USED")
    yield from (f"membership {m} came of {count} holds" for m, count in used.items() if count > 1)
    for hold in drained.holds:
        if hold.state != "USED":
            continue
        m = memberships.get(hold.membership_id)
        if m is None or (m.user, m.sequence_num) != (hold.user, hold.sequence_num):
            yield f"{hold} became {m}"


def holds_show_no_number(history: History, drained: Drained) -> Iterator[str]:
    """7c. A hold's id is random: no part of it is the number, or the same in two of them."""
    tails = Counter(hold.id[9:18] for hold in drained.holds)
    if len(drained.holds) > 1 and len(tails) == 1:
        yield f"all ids have the same middle {next(iter(tails))}: they are not random"


def late_payers_have_one_number(_: History, drained: Drained) -> Iterator[str]:
    """7d. A number is held for a receipt once at a time, and not beside its membership."""
    offered = Counter(hold.receipt for hold in drained.holds if hold.receipt and hold.state == HELD)
    yield from (f"{receipt} has {count} numbers held for it" for receipt, count in offered.items() if count > 1)
    owners = {m.receipt for m in drained.memberships}
    yield from (f"a number is held for {receipt}, which has a membership" for receipt in offered if receipt in owners)


def keys_follow_their_holder(_: History, drained: Drained) -> Iterator[str]:
    """7e. What counts for a person belongs to a live hold or to a membership that has its number."""
    holders = {hold.id for hold in drained.holds if hold.state == HELD}
    holders |= {m.id for m in drained.memberships if not (m.revoked and m.number_freed)}
    yield from (
        f"a key counts for {holder}, which has no number" for holder in drained.counted_for if holder not in holders
    )
    if drained.holds:
        yield from (f"no key counts for {holder}" for holder in sorted(holders - set(drained.counted_for)))


def tokens_work_once(history: History, drained: Drained) -> Iterator[str]:
    """6. No encounter or reforge takes effect twice; an accepted reforge was mailed; one device is active."""
    counts = Counter(drained.active_devices)
    yield from (f"membership {m} has {count} active devices" for m, count in counts.items() if count > 1)
    done = Counter((o.kind, o.subject) for o in history.operations if o.outcome == DONE)
    for (kind, subject), count in done.items():
        if kind in {"encounter", "confirm"} and count > 1:
            yield f"{kind} {subject} took effect {count} times"
        if kind == "encounter" and subject not in drained.encounters:
            yield f"encounter {subject} was acknowledged and is gone"
        if kind == "reforge" and subject not in drained.mailed:
            yield f"reforge {subject} was accepted and never mailed"
    recorded = Counter(drained.encounters)
    yield from (f"encounter {token} is recorded {count} times" for token, count in recorded.items() if count > 1)


def answers_are_of_the_contract(history: History, _: Drained) -> Iterator[str]:
    """Each answer to a valid mint is FULFILLED, a final refusal, or retryable and so UNKNOWN."""
    known = {FULFILLED, UNKNOWN, *FINAL}
    if any(_holds(history)):
        known |= {"HELD_OUT", "HOLD_EXPIRED", "LIMIT_REACHED"}
    yield from (f"{o.subject}: {o.outcome} via {o.via} {o.status}" for o in _mints(history) if o.outcome not in known)


def recovery_is_quick(_: History, drained: Drained) -> Iterator[str]:
    """Serving again within 5 s of healing."""
    if drained.unsettled:
        yield f"{len(drained.unsettled)} receipts never got a final answer, {drained.unsettled[0]} among them"
    if drained.serving_after_s > SERVING_LIMIT_S:
        yield f"serving again only {drained.serving_after_s:.1f} s after healing"


RULES: Final = (
    capacity_is_kept,
    numbers_are_unique,
    acknowledged_mints_stay,
    one_membership_a_receipt,
    refusals_stay_true,
    sold_out_was_true,
    slots_are_conserved,
    redis_agrees_at_the_end,
    ledger_accounts_for_all,
    acknowledged_holds_stay,
    holds_became_what_they_held,
    holds_show_no_number,
    late_payers_have_one_number,
    keys_follow_their_holder,
    tokens_work_once,
    answers_are_of_the_contract,
    recovery_is_quick,
)


def _mints(history: History, outcome: str | None = None) -> Iterator[Operation]:
    return (o for o in history.operations if o.kind == "mint" and outcome in {None, o.outcome})


def _holds(history: History, outcome: str | None = None) -> Iterator[Operation]:
    return (o for o in history.operations if o.kind == "hold" and outcome in {None, o.outcome})


def _revocations(history: History) -> list[Operation]:
    return [o for o in history.operations if o.kind == "revoke"]


def _between(revocations: list[Operation], since_s: float, until_s: float) -> Iterator[Operation]:
    """Those that may have taken effect in that time; one of unknown outcome may do so at any later moment."""
    return (r for r in revocations if r.began_s <= until_s and (r.outcome == UNKNOWN or r.ended_s >= since_s))
