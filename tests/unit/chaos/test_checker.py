"""The checker finds each way in which a rule can be broken, and nothing in a history where none is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.checker import RULES, check
from tests.chaos.history import (
    DONE,
    FULFILLED,
    HELD,
    UNKNOWN,
    Drained,
    History,
    HoldRow,
    LedgerRow,
    MembershipRow,
    Operation,
    Sample,
)


def mint(receipt: str, outcome: str = FULFILLED, at_s: float = 1.0, **changes: Any) -> Operation:
    number = int(receipt.removeprefix("r"))
    membership = {"membership_id": f"m{number}", "sequence_num": number, "pass_serial": f"p{number}"}
    return Operation(
        **{
            "kind": "mint",
            "subject": receipt,
            "user": f"u{number}",
            "began_s": at_s,
            "ended_s": at_s + 0.1,
            "outcome": outcome,
            **(membership if outcome == FULFILLED else {}),
            **changes,
        }
    )


def row(number: int, **changes: Any) -> MembershipRow:
    return replace(
        MembershipRow(
            id=f"m{number}",
            sequence_num=number,
            pass_serial=f"p{number}",
            receipt=f"r{number}",
            user=f"u{number}",
            revoked=False,
            number_freed=False,
        ),
        **changes,
    )


def entry(number: int, state: str = "FULFILLED", reason: str | None = None) -> LedgerRow:
    return LedgerRow(receipt=f"r{number}", state=state, reason=reason, user=f"u{number}")


def sample(at_s: float, unclaimed: int, **changes: Any) -> Sample:
    return replace(
        Sample(
            began_s=at_s,
            ended_s=at_s + 0.01,
            unclaimed=unclaimed,
            live=3 - unclaimed,
            holding=3 - unclaimed,
            tallied=3 - unclaimed,
            redis=unclaimed,
        ),
        **changes,
    )


def sold_out_drop() -> History:
    """Three numbers, three owners, one of them answered twice; a fourth buyer is refused."""
    return History(
        name="sound",
        operations=[
            mint("r1"),
            mint("r1", at_s=1.5, replayed=True),
            mint("r2", UNKNOWN),
            mint("r2", at_s=2, replayed=True),
            mint("r3"),
            mint("r3", "RECEIPT_USED", at_s=2, user="thief"),
            mint("r4", "SOLD_OUT", at_s=3),
        ],
        samples=[sample(0.5, 3), sample(2.5, 0), sample(4, 0)],
        drained=Drained(
            capacity=3,
            slots=(),
            tallied=3,
            redis=0,
            memberships=(row(1), row(2), row(3)),
            ledger=(entry(1), entry(2), entry(3), entry(4, "FAILED", "SOLD_OUT")),
        ),
    )


def drained_state(history: History) -> Drained:
    assert history.drained is not None
    return history.drained


def change(history: History, **changes: Any) -> None:
    history.drained = replace(drained_state(history), **changes)


def test_a_sound_history_has_no_violation() -> None:
    assert check(sold_out_drop()) == []


def test_a_freed_number_that_is_sold_again_is_no_violation() -> None:
    history = sold_out_drop()
    history.operations += [
        Operation(kind="revoke", subject="m1", user="operator", began_s=3.5, ended_s=3.6, outcome=DONE),
        mint("r1", "INVALID_RECEIPT", at_s=3.8),
        mint("r4", at_s=5, sequence_num=1),
    ]
    history.samples.append(sample(3.7, 1))
    change(
        history,
        memberships=(row(1, revoked=True, number_freed=True), row(2), row(3), row(4, sequence_num=1)),
        ledger=(entry(1), entry(2), entry(3), entry(4)),
    )
    assert check(history) == []


def number_one_freed(history: History, at_s: float) -> None:
    """Revokes r1's membership; nobody buys its number again."""
    history.operations.append(
        Operation(kind="revoke", subject="m1", user="operator", began_s=at_s, ended_s=at_s + 0.1, outcome=DONE)
    )
    history.samples.append(sample(at_s + 0.2, 1))
    change(
        history, memberships=(row(1, revoked=True, number_freed=True), row(2), row(3)), slots=(1,), tallied=2, redis=1
    )


def test_a_number_freed_within_the_second_before_the_last_refusal_may_stay_unsold() -> None:
    history = sold_out_drop()
    number_one_freed(history, at_s=2.6)  # r4 was refused at 3
    assert check(history) == []


def test_a_number_freed_long_before_the_last_refusal_is_lost() -> None:
    history = sold_out_drop()
    number_one_freed(history, at_s=2.6)
    history.operations.append(mint("r4", "SOLD_OUT", at_s=5))
    assert "capacity_is_kept" in {violation.rule for violation in check(history)}


def test_an_unknown_outcome_may_be_a_membership_or_none() -> None:
    history = sold_out_drop()
    history.operations[-1] = mint("r4", UNKNOWN, at_s=3)
    assert check(history) == []
    history.operations = [o for o in history.operations if o.subject != "r3"] + [mint("r3", UNKNOWN)]
    assert check(history) == []


Break = Callable[[History], None]
BROKEN: list[tuple[str, str, Break]] = []


def breaks(rule: str) -> Callable[[Break], Break]:
    def register(how: Break) -> Break:
        BROKEN.append((rule, how.__name__, how))
        return how

    return register


@breaks("capacity_is_kept")
def more_live_than_capacity_for_a_moment(history: History) -> None:
    history.samples.append(sample(2.6, 0, live=4))


@breaks("capacity_is_kept")
def a_slot_is_lost(history: History) -> None:
    change(history, memberships=(row(1), row(2)), slots=(3,), tallied=2)
    history.operations = [o for o in history.operations if o.subject != "r3"] + [mint("r3", "SOLD_OUT")]


@breaks("numbers_are_unique")
def one_number_twice(history: History) -> None:
    change(history, memberships=(row(1), row(2), row(3, sequence_num=2)))


@breaks("numbers_are_unique")
def one_serial_twice(history: History) -> None:
    change(history, memberships=(row(1), row(2), row(3, pass_serial="p2")))


@breaks("numbers_are_unique")
def a_number_beyond_the_capacity(history: History) -> None:
    change(history, memberships=(row(1), row(2), row(3, sequence_num=9)))


@breaks("acknowledged_mints_stay")
def an_acknowledged_mint_is_gone(history: History) -> None:
    change(history, memberships=(row(1), row(2)))


@breaks("acknowledged_mints_stay")
def a_replay_differs(history: History) -> None:
    history.operations.append(mint("r1", at_s=4, pass_serial="p9", replayed=True))


@breaks("acknowledged_mints_stay")
def a_membership_has_another_owner(history: History) -> None:
    change(history, memberships=(row(1, user="thief"), row(2), row(3)))


@breaks("acknowledged_mints_stay")
def two_answers_are_the_first(history: History) -> None:
    history.operations.append(mint("r1", at_s=4))


@breaks("one_membership_a_receipt")
def two_memberships_of_a_receipt(history: History) -> None:
    change(history, memberships=(row(1), row(2), row(3, receipt="r2")))


@breaks("refusals_stay_true")
def sold_out_and_yet_a_membership(history: History) -> None:
    history.operations.append(mint("r2", "SOLD_OUT", at_s=3))


@breaks("refusals_stay_true")
def used_and_nobody_has_it(history: History) -> None:
    history.operations.append(mint("r4", "RECEIPT_USED", at_s=3))


@breaks("refusals_stay_true")
def used_and_it_is_theirs(history: History) -> None:
    history.operations.append(mint("r1", "RECEIPT_USED", at_s=3))


@breaks("refusals_stay_true")
def invalid_and_yet_genuine(history: History) -> None:
    history.operations.append(mint("r1", "INVALID_RECEIPT", at_s=3))


@breaks("sold_out_was_true")
def sold_out_while_a_slot_was_there(history: History) -> None:
    history.operations.append(mint("r4", "SOLD_OUT", at_s=0.2))


@breaks("sold_out_was_true")
def sold_out_long_after_a_number_was_freed(history: History) -> None:
    history.operations += [
        Operation(kind="revoke", subject="m1", user="operator", began_s=3.5, ended_s=3.6, outcome=DONE),
        mint("r4", "SOLD_OUT", at_s=8),
    ]
    history.samples.append(sample(9, 1))


@breaks("slots_are_conserved")
def unclaimed_and_claimed_are_not_the_capacity(history: History) -> None:
    history.samples.append(sample(2.6, 1, holding=1, live=1, tallied=1))


@breaks("slots_are_conserved")
def the_tallies_are_wrong(history: History) -> None:
    change(history, tallied=2)


@breaks("slots_are_conserved")
def the_tallies_are_wrong_for_a_moment(history: History) -> None:
    history.samples.append(sample(2.6, 0, tallied=2))


@breaks("slots_are_conserved")
def a_number_is_sold_and_still_for_sale(history: History) -> None:
    change(history, slots=(2,))


@breaks("redis_agrees_at_the_end")
def redis_never_agrees(history: History) -> None:
    change(history, redis=7, drift_zero_after_s=None)


@breaks("redis_agrees_at_the_end")
def redis_agrees_late(history: History) -> None:
    change(history, drift_zero_after_s=16.0)


@breaks("ledger_accounts_for_all")
def a_refused_receipt_is_not_in_the_ledger(history: History) -> None:
    change(history, ledger=drained_state(history).ledger[:-1])


@breaks("ledger_accounts_for_all")
def a_receipt_is_pending_at_the_end(history: History) -> None:
    change(history, ledger=(*drained_state(history).ledger[:-1], entry(4, "PENDING")))


@breaks("ledger_accounts_for_all")
def a_receipt_failed_without_a_reason(history: History) -> None:
    change(history, ledger=(*drained_state(history).ledger[:-1], entry(4, "FAILED")))


@breaks("ledger_accounts_for_all")
def a_receipt_failed_and_has_a_membership(history: History) -> None:
    change(history, ledger=(entry(1, "FAILED", "ABANDONED"), *drained_state(history).ledger[1:]))


@breaks("ledger_accounts_for_all")
def a_receipt_is_fulfilled_and_has_no_membership(history: History) -> None:
    change(history, ledger=(*drained_state(history).ledger[:-1], entry(4)))


ID = "3f2a7c1e-5d0b-4e6f-9a84-7c1d2e3f4a5{}"


def hold(number: int, state: str = "USED", **changes: Any) -> HoldRow:
    used = f"m{number}" if state == "USED" else ""
    base = HoldRow(
        id=ID.format(number), user=f"u{number}", sequence_num=number, state=state, membership_id=used, receipt=""
    )
    return replace(base, **changes)


def take_of(number: int, outcome: str = HELD, **changes: Any) -> Operation:
    hold_id = ID.format(number) if outcome == HELD else ""
    user = f"u{number}"
    facts = {"kind": "hold", "subject": user, "user": user, "began_s": 0.6, "ended_s": 0.7, "hold_id": hold_id}
    return Operation(**{**facts, "outcome": outcome, **changes})


def by_hold(history: History) -> None:
    """The three owners held their numbers first; a fourth has to come again."""
    history.operations += [take_of(1), take_of(2), take_of(3), take_of(4, "HELD_OUT")]
    holds = (hold(1), hold(2, id=ID.replace("5d0b", "6d0b").format(2)), hold(3))
    history.operations[-3] = take_of(2, hold_id=holds[1].id)
    change(history, holds=holds, counted_for=("m1", "m2", "m3"))


def test_a_sound_history_with_holds_has_no_violation() -> None:
    history = sold_out_drop()
    by_hold(history)
    assert check(history) == []


@breaks("sold_out_was_true")
def sold_out_while_a_number_was_held(history: History) -> None:
    by_hold(history)
    history.operations.append(take_of(4, "SOLD_OUT"))
    history.samples.append(sample(2.6, 0, held=1, holding=2, live=2, tallied_held=1))


@breaks("slots_are_conserved")
def a_number_is_held_and_minted(history: History) -> None:
    by_hold(history)
    history.samples.append(sample(2.6, 0, held=1, tallied_held=1))


@breaks("acknowledged_holds_stay")
def an_acknowledged_hold_is_gone(history: History) -> None:
    by_hold(history)
    change(history, holds=drained_state(history).holds[1:])


@breaks("acknowledged_holds_stay")
def a_user_has_two_live_holds(history: History) -> None:
    by_hold(history)
    change(history, holds=(*drained_state(history).holds, hold(4, HELD), hold(5, HELD, user="u4")))


@breaks("holds_became_what_they_held")
def a_hold_became_another_number(history: History) -> None:
    by_hold(history)
    change(history, holds=(hold(1, sequence_num=2), *drained_state(history).holds[1:]))


@breaks("holds_became_what_they_held")
def one_membership_of_two_holds(history: History) -> None:
    by_hold(history)
    change(history, holds=(*drained_state(history).holds, hold(1, id=ID.format(9))))


@breaks("holds_show_no_number")
def ids_are_counted(history: History) -> None:
    change(history, holds=(hold(1), hold(2), hold(3)))


@breaks("late_payers_have_one_number")
def two_numbers_for_one_payment(history: History) -> None:
    change(history, holds=(hold(4, HELD, receipt="r4"), hold(5, HELD, receipt="r4")))


@breaks("keys_follow_their_holder")
def a_key_counts_for_a_lapsed_hold(history: History) -> None:
    by_hold(history)
    change(history, counted_for=("m1", "m2", "m3", ID.format(7)))


@breaks("keys_follow_their_holder")
def a_membership_counts_for_nothing(history: History) -> None:
    by_hold(history)
    change(history, counted_for=("m1", "m2"))


@breaks("tokens_work_once")
def two_devices_are_active(history: History) -> None:
    change(history, active_devices=("m1", "m1"))


@breaks("tokens_work_once")
def an_encounter_takes_effect_twice(history: History) -> None:
    met = Operation(kind="encounter", subject="t", user="u", began_s=1, ended_s=2, outcome=DONE)
    history.operations += [met, met]
    change(history, encounters=("t",))


@breaks("tokens_work_once")
def an_encounter_is_recorded_twice(history: History) -> None:
    change(history, encounters=("t", "t"))


@breaks("tokens_work_once")
def an_accepted_reforge_is_never_mailed(history: History) -> None:
    history.operations.append(Operation(kind="reforge", subject="f", user="u", began_s=1, ended_s=2, outcome=DONE))


@breaks("answers_are_of_the_contract")
def an_answer_makes_no_sense(history: History) -> None:
    history.operations.append(mint("r4", "NOT_FOUND", at_s=3))


@breaks("recovery_is_quick")
def it_serves_late(history: History) -> None:
    change(history, serving_after_s=5.1)


@breaks("recovery_is_quick")
def a_buyer_gets_no_answer(history: History) -> None:
    change(history, unsettled=("r4",))


@pytest.mark.parametrize(("rule", "name", "how"), BROKEN, ids=[name for _, name, _ in BROKEN])
def test_each_way_to_break_a_rule_is_found(rule: str, name: str, how: Break) -> None:
    history = sold_out_drop()
    how(history)
    assert rule in {violation.rule for violation in check(history)}


def test_every_rule_can_be_broken() -> None:
    assert {rule.__name__ for rule in RULES} == {rule for rule, _, _ in BROKEN}


def test_a_run_that_never_drained_is_a_violation() -> None:
    history = sold_out_drop()
    history.drained = None
    assert [violation.rule for violation in check(history)] == ["liveness"]


def test_a_saved_history_is_checked_as_it_was(tmp_path: Path) -> None:
    history = sold_out_drop()
    history.save(tmp_path / "run.jsonl")
    assert History.load(tmp_path / "run.jsonl") == history
