"""The checker of draws accepts a sound night, and names each rule that is broken."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import pytest

from services.draw import maths
from services.draw.development_beacon import DevelopmentBeacon
from services.mint.drops import Drop
from tests.chaos.draw_checker import CLOSED, ENTERED, Entrant, Night, check_draw
from tests.chaos.history import FULFILLED, Operation

CAPACITY, PEOPLE = 3, 8
TERMS = '{"v":"a test"}'
BEACON = DevelopmentBeacon(5)
SIGNATURE = BEACON.signature(7, BEACON.chain.round_at(7)) or b""


def sound() -> Night:
    """Eight people for three numbers; one withdrew, one came late, one gave the number back, one paid."""
    entrants = []
    for n in range(PEOPLE):
        leaf = hashlib.sha256(f"leaf {n}".encode()).hexdigest()
        entrants.append(
            Entrant(f"u{n}", 1, False, False, ENTERED, {"id": str(n), "leaf_hash": leaf}, answers=[ENTERED])
        )
    entrants[0].withdrawn = "WITHDRAWN"
    entrants[1].outcome, entrants[1].entry, entrants[1].answers = CLOSED, {}, [CLOSED]
    leaves = sorted(bytes.fromhex(one.entry["leaf_hash"]) for one in entrants[2:])
    root, terms_hash = maths.LeafTree(leaves).root, maths.terms_hash_of(TERMS)
    seed = maths.draw_seed(terms_hash, root, len(leaves), SIGNATURE)
    order = [leaf.hex() for leaf in maths.ranked(seed, leaves)]
    numbers = maths.ordered_numbers(seed, range(1, CAPACITY + 1))
    given = [*numbers, numbers[1]]  # rank 2 gave its number back: rank 4 has it
    offers = [
        {"rank": rank, "leaf_hash": order[rank - 1], "number": number, "wave": 1 + (rank > CAPACITY)}
        for rank, number in enumerate(given, 1)
    ]
    users = {one.entry["leaf_hash"]: one for one in entrants[2:]}
    states = ["USED", "RELEASED", "HELD", "HELD"]
    rows = [
        {
            "user_id": users[one["leaf_hash"]].user,
            "sequence_num": one["number"],
            "state": state,
            "rank": one["rank"],
            "offered": one["number"],
            "minted": one["number"] if state == "USED" else None,
            "member": users[one["leaf_hash"]].user if state == "USED" else None,
        }
        for one, state in zip(offers, states, strict=True)
    ]
    winner = users[order[0]]
    winner.minted.append(
        Operation(
            kind="mint", subject="r", user=winner.user, began_s=0, ended_s=1, outcome=FULFILLED, sequence_num=given[0]
        )
    )
    document = {
        "state": "DRAWN",
        "terms": TERMS,
        "terms_hash": terms_hash.hex(),
        "entries": len(leaves),
        "entries_root": root.hex(),
        "checkpoint": "a note",
        "refused": [],
        "beacon": {"round": 7},
        "signature": SIGNATURE.hex(),
        "seed": seed.hex(),
        "offered_rank": 4,
    }
    before = {**document, "state": "ENTERING", "checkpoint": "", "signature": "", "seed": "", "offered_rank": 0}
    counts = {"slots": 0, "held": 2, "minted": 1, "numbers": 1, "tallied": 3, "tallied_held": 2}
    return Night(
        Drop(1, "lot", "2034", "production", "draw"),
        CAPACITY,
        entrants,
        BEACON.chain,
        [before, document],
        [leaf.hex() for leaf in leaves],
        [entrants[0].entry["leaf_hash"]],
        offers,
        rows,
        counts,
    )


def test_a_sound_night_is_accepted() -> None:
    assert check_draw(sound()) == []


def drop_entry(night: Night) -> None:
    night.leaves.remove(night.entrants[3].entry["leaf_hash"])


def add_entry(night: Night) -> None:
    night.leaves.append("ff" * 32)


def refuse_one_who_is_in(night: Night) -> None:
    night.entrants[4].outcome = CLOSED
    night.entrants[4].answers.append(CLOSED)


def exchange(name: str, one: int, other: int) -> Callable[[Night], None]:
    def change(night: Night) -> None:
        offers = night.offers
        offers[one][name], offers[other][name] = offers[other][name], offers[one][name]

    return change


def document(**changes: Any) -> Callable[[Night], None]:
    def change(night: Night) -> None:
        night.documents.append({**night.documents[-1], **changes})

    return change


def row(number: int, **changes: Any) -> Callable[[Night], None]:
    def change(night: Night) -> None:
        night.rows[number].update(changes)

    return change


def count(**changes: int) -> Callable[[Night], None]:
    def change(night: Night) -> None:
        night.counts.update(changes)

    return change


def answer_with_another_number(night: Night) -> None:
    winner = next(one for one in night.entrants if one.minted)
    winner.minted = [Operation(**{**{name: getattr(winner.minted[0], name) for name in NAMES}, "sequence_num": 99})]


NAMES = ("kind", "subject", "user", "began_s", "ended_s", "outcome")
BROKEN: dict[str, tuple[str, Callable[[Night], None]]] = {
    "an entry dropped": ("entries_are_in_the_tree", drop_entry),
    "an entry added": ("entries_are_in_the_tree", add_entry),
    "both answers": ("entries_are_in_the_tree", refuse_one_who_is_in),
    "withdrawn and in the tree": ("entries_are_in_the_tree", lambda night: night.withdrawn.clear()),
    "another seed later": ("the_draw_never_changes", document(seed="00" * 32)),
    "another root later": ("the_draw_never_changes", document(entries_root="00" * 32)),
    "a checkpoint forgotten": ("the_draw_never_changes", document(checkpoint="another note")),
    "an earlier round": (
        "the_draw_never_changes",
        document(refused=[{"round": 9, "checkpoint": "another"}]),
    ),
    "ranks withdrawn": ("the_draw_never_changes", document(offered_rank=3)),
    "the round of a lying relay": ("the_round_is_the_beacons", document(beacon={"round": 8})),
    "two ranks exchanged": ("order_and_numbers_are_the_formulas", exchange("leaf_hash", 0, 1)),
    "two numbers exchanged": ("order_and_numbers_are_the_formulas", exchange("number", 0, 2)),
    "other terms": ("order_and_numbers_are_the_formulas", document(terms="{}")),
    "a rank left out": ("offers_are_in_turn", lambda night: night.offers.pop(1) and None),
    "waves out of turn": ("offers_are_in_turn", exchange("wave", 2, 3)),
    "a number given twice": ("offers_are_in_turn", row(1, state="HELD")),
    "a hold without an offer": ("mints_are_offers", row(2, rank=None)),
    "another's membership": ("mints_are_offers", row(0, member="mallory")),
    "another number answered": ("mints_are_offers", answer_with_another_number),
    "a number too many": ("mints_are_offers", count(slots=1)),
    "a wrong tally": ("mints_are_offers", count(tallied=4)),
    "never drawn": ("liveness", lambda night: night.documents.pop() and None),
}


@pytest.mark.parametrize("name", BROKEN)
def test_each_broken_rule_is_named(name: str) -> None:
    rule, break_it = BROKEN[name]
    night = sound()
    break_it(night)
    assert rule in {violation.rule for violation in check_draw(night)}
