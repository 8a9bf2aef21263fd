"""The rules of a draw, checked over a recorded run.

The checker does not know the faults: the rules of `check_draw` hold in every run. An answer that never came widens a
bound, and is never ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from services.draw import maths
from services.draw.chains import Chain
from services.mint.drops import Drop
from tests.chaos.checker import Violation
from tests.chaos.history import FULFILLED, UNKNOWN, Operation

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
