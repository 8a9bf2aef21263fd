"""The broken variants: each is a mistake that a programmer could make."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tests.chaos.broken import cycles, draws, holds, statements
from tests.chaos.faults.scene import Inflict


@dataclass(frozen=True, slots=True)
class Variant:
    """One mistake: how it gets into the process, and the faults that bring it to light.

    The checker must find at least one of `rules` broken. The statements `without` remove the constraint with
    which Postgres would catch the mistake; `restored` put it back into an empty table.
    """

    mistake: str
    break_it: Callable[[], None]
    rules: frozenset[str]
    kinds: tuple[str, ...] = ()
    capacity_limit: int = 400
    lasts_all_along: bool = False  # whether the faults begin with the load and end after it
    needs_sell_out: bool = False
    needs_freed_numbers: bool = False
    without: tuple[str, ...] = ()
    restored: tuple[str, ...] = ()
    sale: str = "direct"
    step: Inflict | None = None  # a draw's only fault


RECEIPT_IS_NOT_UNIQUE: Final = ("ALTER TABLE memberships DROP CONSTRAINT memberships_receipt_key_key",)
RECEIPT_IS_UNIQUE: Final = ("ALTER TABLE memberships ADD CONSTRAINT memberships_receipt_key_key UNIQUE (receipt_key)",)

VARIANTS: Final[dict[str, Variant]] = {
    "no-row-lock": Variant(
        "receipts are entered first and not locked when they mint, and no constraint says one receipt, one membership",
        cycles.no_row_lock,
        frozenset({"one_membership_a_receipt"}),
        without=RECEIPT_IS_NOT_UNIQUE,
        restored=RECEIPT_IS_UNIQUE,
    ),
    "asked-is-entered": Variant(
        "what another process entered first is minted anyway, and no constraint says one receipt, one membership",
        statements.asked_is_entered,
        frozenset({"one_membership_a_receipt"}),
        without=RECEIPT_IS_NOT_UNIQUE,
        restored=RECEIPT_IS_UNIQUE,
    ),
    "missing-key-is-sold-out": Variant(
        "a missing key in Redis is read as sold out, and Redis' answer is final",
        cycles.missing_key_is_sold_out,
        frozenset({"sold_out_was_true"}),
        kinds=("redis_flushed", "kill_valkey"),
    ),
    "answer-before-commit": Variant(
        "a mint is acknowledged after its statement and before its commit",
        cycles.answer_before_commit,
        frozenset({"acknowledged_mints_stay"}),
        kinds=("kill_both_mints", "kill_both_mints"),
    ),
    "no-compensation-no-recount": Variant(
        "what was granted and not used is never given back, and nothing recounts",
        cycles.no_compensation_no_recount,
        frozenset({"redis_agrees_at_the_end"}),
        kinds=("raise_at_mint_granted", "kill_at_mint_granted"),
    ),
    "unknown-reported-as-failed": Variant(
        "a COMMIT that did not answer in time is reported as failed for good",
        cycles.unknown_reported_as_failed,
        frozenset({"refusals_stay_true"}),
        kinds=("commit_outlasts_the_caller",),
    ),
    "one-answer-for-all-copies": Variant(
        "everybody who waits for a receipt gets the answer of the first",
        cycles.one_answer_for_all_copies,
        frozenset({"acknowledged_mints_stay"}),
    ),
    "used-before-the-winner-commits": Variant(
        "another user gets RECEIPT_USED while the first is still waiting for an outcome",
        cycles.used_before_the_winner_commits,
        frozenset({"refusals_stay_true"}),
    ),
    "sold-out-for-ever": Variant(
        "sold out is remembered without end",
        cycles.sold_out_for_ever,
        frozenset({"sold_out_was_true"}),
        needs_sell_out=True,
        needs_freed_numbers=True,
    ),
    "new-serial-on-replay": Variant(
        "a replay makes up a new pass serial",
        cycles.new_serial_on_replay,
        frozenset({"acknowledged_mints_stay"}),
    ),
    "reaper-reaps-the-living": Variant(
        "the reaper looks neither at the state nor at the age of a receipt",
        statements.reaper_reaps_the_living,
        frozenset({"ledger_accounts_for_all"}),
    ),
    "locked-is-sold-out": Variant(
        "slots that others have merely locked count as sold",
        statements.locked_is_sold_out,
        frozenset({"sold_out_was_true"}),
        kinds=("commit_outlasts_the_caller",),
        capacity_limit=60,
        lasts_all_along=True,
        needs_sell_out=True,
    ),
    "refused-receipts-forgotten": Variant(
        "a receipt that is refused as sold out is removed from the ledger",
        statements.refused_receipts_forgotten,
        frozenset({"ledger_accounts_for_all"}),
    ),
    "lapse-without-the-lock": Variant(
        "a lapse takes the number of a hold that a payment has just used, as it looked before",
        holds.lapse_without_the_lock,
        frozenset({"slots_are_conserved", "numbers_are_unique", "holds_became_what_they_held"}),
        kinds=("delay_at_hold_lapsing",),
        sale="hold",
        without=("DROP INDEX memberships_live_number",),
        restored=(
            "CREATE UNIQUE INDEX memberships_live_number ON memberships (drop_id, sequence_num) "
            "WHERE revoked_at IS NULL",
        ),
    ),
    "hold-used-twice": Variant(
        "a mint does not mark its hold as used",
        holds.hold_stays_held,
        frozenset({"slots_are_conserved", "numbers_are_unique", "holds_became_what_they_held"}),
        sale="hold",
    ),
    "number-shown-early": Variant(
        "a hold's id is its number",
        holds.id_is_the_number,
        frozenset({"holds_show_no_number"}),
        sale="hold",
    ),
    "late-line-served-twice": Variant(
        "a late payer gets a number and stays in the line",
        holds.served_stay_in_line,
        frozenset({"late_payers_have_one_number"}),
        capacity_limit=60,
        sale="hold",
        needs_sell_out=True,
        without=("DROP INDEX holds_one_of_a_user",),
        restored=("CREATE UNIQUE INDEX holds_one_of_a_user ON holds (drop_id, user_id) WHERE state = 'HELD'",),
    ),
    "keys-not-released": Variant(
        "what was counted for a hold is still counted when it has lapsed",
        holds.keys_stay_counted,
        frozenset({"keys_follow_their_holder"}),
        sale="hold",
    ),
    "sold-out-while-held": Variant(
        "a drop with no free number is sold out, held ones or not",
        holds.held_is_sold_out,
        frozenset({"sold_out_was_true"}),
        capacity_limit=60,
        sale="hold",
        needs_sell_out=True,
    ),
    "lying-relay": Variant(
        "a draw takes the round that a relay gives it, without verifying the signature",
        draws.believe_a_relay,
        frozenset({"the_round_is_the_beacons"}),
        sale="draw",
    ),
    "entered-after-the-close": Variant(
        "an entry counts after the entries have closed",
        draws.enter_after_the_close,
        frozenset({"entries_are_in_the_tree"}),
        sale="draw",
    ),
    "withdrawn-is-drawn": Variant(
        "an entry that was withdrawn is in the tree",
        draws.draw_the_withdrawn,
        frozenset({"entries_are_in_the_tree"}),
        sale="draw",
    ),
    "ranked-by-leaf": Variant(
        "the leaves' own order is the order of the draw",
        draws.rank_by_leaf,
        frozenset({"order_and_numbers_are_the_formulas"}),
        sale="draw",
    ),
    "offered-twice": Variant(
        "an offered number stays free, and no constraint says one hold, one number",
        draws.leave_offered_numbers_free,
        frozenset({"offers_are_in_turn", "mints_are_offers"}),
        sale="draw",
        without=("DROP INDEX holds_one_of_a_number",),
        restored=("CREATE UNIQUE INDEX holds_one_of_a_number ON holds (drop_id, sequence_num) WHERE state = 'HELD'",),
    ),
    "two-results-after-a-crash": Variant(
        "a draw makes its seed public before it has finished, and a process that finds it unfinished draws again",
        draws.draw_in_two_transactions,
        frozenset({"the_draw_never_changes"}),
        sale="draw",
        step=draws.kill_at_the_draw,
    ),
    "tally-after-commit": Variant(
        "the count of taken numbers is written after the commit, not with it",
        cycles.tally_after_commit,
        frozenset({"slots_are_conserved"}),
        kinds=("kill_at_mint_committed",),
    ),
}
