"""Draws that are not honest, each by one change. A judge refuses all of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final

from tests.integration.draw_verifier.public_draw import ROUNDS, PublicDraw, entry_of

Forgery = Callable[[PublicDraw], None]


def add_entry(draw: PublicDraw) -> None:
    draw.leaf_list = sorted([*draw.leaf_list, entry_of(1_000_000)["leaf_hash"]])
    draw.document["entries"] += 1


def drop_entry(draw: PublicDraw) -> None:
    del draw.leaf_list[1321]
    draw.document["entries"] -= 1


def drop_entry_unnoticed(draw: PublicDraw) -> None:
    """Everything is computed again for fewer entries; the signed checkpoint stays as it was."""
    signed = draw.document["checkpoint"]
    del draw.leaves[1321]
    draw.publish()
    draw.document["checkpoint"] = signed


def change_entry(draw: PublicDraw) -> None:
    draw.leaf_list[1321] = f"{int(draw.leaf_list[1321], 16) ^ 1:064x}"


def double_entry(draw: PublicDraw) -> None:
    """A leaf is there twice, and everything is computed and signed for that."""
    draw.leaves = sorted([*draw.leaves, draw.leaves[1321]])
    draw.publish()


def use_another_round(draw: PublicDraw) -> None:
    """A genuine signature of the same beacon over another round, and everything is computed for it."""
    draw.signature = ROUNDS[43]
    draw.publish()


def name_another_round(draw: PublicDraw) -> None:
    draw.signature = ROUNDS[43]
    draw.publish()
    draw.document["beacon"]["round"] = 43


def exchange_numbers(draw: PublicDraw) -> None:
    first, second = draw.offers[10], draw.offers[700]
    first["number"], second["number"] = second["number"], first["number"]


def exchange_offers(draw: PublicDraw) -> None:
    first, second = draw.offers[10], draw.offers[11]
    first["leaf_hash"], second["leaf_hash"] = second["leaf_hash"], first["leaf_hash"]


def skip_a_rank(draw: PublicDraw) -> None:
    """The last alternate has an offer, the one before has none."""
    draw.offers[-2] = draw.offers[-1] | {"rank": draw.offers[-2]["rank"]}
    draw.offers.pop()
    draw.document["offered_rank"] -= 1


def change_terms(draw: PublicDraw) -> None:
    draw.document["terms"] = draw.document["terms"].replace('"offer_s":86400', '"offer_s":3600')


def change_terms_and_their_hash(draw: PublicDraw) -> None:
    """The terms and all that follows are new; the signed checkpoint cites the old ones."""
    signed = draw.document["checkpoint"]
    draw.terms["offer_s"] = 3600
    draw.publish()
    draw.document["checkpoint"] = signed


def spoil_checkpoint_signature(draw: PublicDraw) -> None:
    text, _, encoded = draw.document["checkpoint"].rstrip("\n").rpartition(" ")
    other = ("B" if encoded[20] == "A" else "A").join((encoded[:20], encoded[21:]))
    draw.document["checkpoint"] = f"{text} {other}\n"


def commit_too_late(draw: PublicDraw) -> None:
    draw.document["checkpoint"] = draw.checkpoint("2023-08-23T15:58:25.000Z")


def commit_before_the_close(draw: PublicDraw) -> None:
    draw.document["checkpoint"] = draw.checkpoint("2023-08-23T15:54:59.000Z")


def choose_a_later_round(draw: PublicDraw) -> None:
    """The root was there in time for the announced round, which is left out all the same."""
    draw.document["checkpoint"] = draw.checkpoint(round_number=1100)
    draw.document["beacon"]["round"] = 1100


def withdraw_a_leaf(draw: PublicDraw) -> None:
    draw.withdrawn_list = sorted([draw.leaf_list[0], *draw.withdrawn_list])
    draw.document["withdrawn"] += 1


def give_a_number_that_did_not_come_back(draw: PublicDraw) -> None:
    """Twice in one wave."""
    draw.offers[-1]["number"] = draw.offers[-2]["number"]


def give_out_of_turn(draw: PublicDraw) -> None:
    """Within a wave, numbers go by the seed's order."""
    first, second = draw.offers[-2], draw.offers[-1]
    first["number"], second["number"] = second["number"], first["number"]


def flip_a_bit_of_the_beacon(draw: PublicDraw) -> None:
    """One bit of the signature, and everything is computed for it."""
    draw.signature = f"{int(draw.signature, 16) ^ (1 << 77):096x}"
    draw.publish()


def use_a_beacon_of_his_own(draw: PublicDraw) -> None:
    draw.terms["public_key"] = f"{int(draw.terms['public_key'], 16) ^ (1 << 77):0192x}"
    draw.publish()


def change_seed(draw: PublicDraw) -> None:
    draw.document["seed"] = "00" * 32


def change_cutoff(draw: PublicDraw) -> None:
    draw.document["cutoff"] = draw.keys[draw.offers[-2]["leaf_hash"]]


def publish_terms_of_another_drop(draw: PublicDraw) -> None:
    draw.terms["tier"] = "day"
    draw.publish()
    assert json.loads(draw.document["terms"])["tier"] == "day"


FORGERIES: Final[dict[str, tuple[Forgery, str]]] = {
    "an entry added": (add_entry, "root"),
    "an entry dropped": (drop_entry, "root"),
    "an entry dropped and all computed again": (drop_entry_unnoticed, "checkpoint"),
    "an entry changed": (change_entry, "root"),
    "an entry doubled": (double_entry, "leaves"),
    "another round": (use_another_round, "beacon"),
    "another round named": (name_another_round, "checkpoint"),
    "a number exchanged": (exchange_numbers, "offers"),
    "an offer out of order": (exchange_offers, "offers"),
    "a rank skipped": (skip_a_rank, "offers"),
    "terms changed": (change_terms, "terms"),
    "terms changed with their hash": (change_terms_and_their_hash, "checkpoint"),
    "terms of another drop": (publish_terms_of_another_drop, "terms"),
    "a checkpoint's signature spoiled": (spoil_checkpoint_signature, "checkpoint"),
    "a checkpoint too late": (commit_too_late, "checkpoint"),
    "a beacon's signature one bit off": (flip_a_bit_of_the_beacon, "beacon"),
    "a beacon of the operator's own": (use_a_beacon_of_his_own, "terms"),
    "a checkpoint before the close": (commit_before_the_close, "checkpoint"),
    "a later round without need": (choose_a_later_round, "checkpoint"),
    "a leaf that is withdrawn": (withdraw_a_leaf, "leaves"),
    "a number twice in a wave": (give_a_number_that_did_not_come_back, "offers"),
    "a number out of turn": (give_out_of_turn, "offers"),
    "another seed": (change_seed, "seed"),
    "another cutoff": (change_cutoff, "cutoff"),
}
"""By name: the change, and the check of `verify.py` that finds it."""
