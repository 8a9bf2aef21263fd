"""A draw as the engine leads it: from entries to offers, once, by the formulas."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from admin.draws import DrawDesk, DrawRefused
from admin.people import erase_person, unname_entries
from services.data.audit_log import Actor
from services.draw import drawing, maths
from services.draw.chains import QUICKNET
from services.draw.engine import DrawEngine
from services.draw.entering import EntryOrder, TakenEntry
from services.draw.relays import Relays
from services.draw.settings import DrawSettings
from services.draw.signing import DrawSigner
from services.draw.worker import Beacons, DrawWorker, ForgettingEntrants
from services.server import failpoints
from tests.integration.draw.conftest import BEACON, SIGNER, Night, OpenNight
from vyris.errors import DropNotOpen, HoldRequired, LimitReached, NotOffered, Retryable, VyrisError


async def test_entries_become_offers_by_the_formulas(open_night: OpenNight) -> None:
    night = await open_night(capacity=3)
    entries = {f"u{n}": await night.enter(f"u{n}") for n in range(10)}
    assert (await night.document()).state == "ENTERING"
    committed = await night.commit()
    leaves = [entry.leaf_hash for entry in entries.values()]
    root = maths.LeafTree(leaves).root
    assert (committed.state, committed.entries, committed.entries_root) == ("COMMITTED", 10, root.hex())
    assert committed.signature == committed.seed == ""

    await night.give_round()
    await night.lead()
    drawn = await night.document()
    signature = bytes.fromhex(drawn.signature)
    assert BEACON.chain.verifies(drawn.beacon.round, signature)
    seed = maths.draw_seed(bytes.fromhex(drawn.terms_hash), root, 10, signature)
    assert (drawn.state, drawn.seed, drawn.offered_rank) == ("DRAWN", seed.hex(), 3)
    order = maths.ranked(seed, leaves)
    numbers = maths.ordered_numbers(seed, range(1, 4))
    users = {entry.leaf_hash: user for user, entry in entries.items()}
    assert await night.offered() == [(n + 1, numbers[n], users[order[n]], "HELD") for n in range(3)]
    cutoff = bytes.fromhex(drawn.cutoff)
    assert [one for one in order if maths.has_offer(seed, cutoff, one)] == order[:3]
    await night.check_sum()

    winner, loser = users[order[0]], users[order[3]]
    assert (await night.pay("r1", winner))[0].sequence_num == numbers[0]
    with pytest.raises(HoldRequired):
        await night.pay("r2", loser)
    assert isinstance(await night.engine.find_offer(night.drop, loser), NotOffered)
    await night.check_sum()


async def test_the_same_user_64_times_at_once_has_one_entry(open_night: OpenNight) -> None:
    one = await open_night()
    two = await open_night(drop=one.drop)
    answers = await asyncio.gather(*((one, two)[n % 2].enter("ada") for n in range(64)))
    assert len({answer[:4] for answer in answers}) == 1
    assert sum(not answer.replayed for answer in answers) == 1
    assert await one.value("SELECT count(*) FROM entries") == 1
    await one.commit()
    assert (await two.enter("ada")).replayed  # a caller who lost the answer can ask after the close


async def test_outside_the_window_nobody_enters_or_leaves(open_night: OpenNight) -> None:
    early = await open_night(entries_open=60)
    with pytest.raises(DropNotOpen) as refused:
        await early.enter("ada")
    assert refused.value.retryable
    night = await open_night()
    entry = await night.enter("ada")
    await night.commit()
    with pytest.raises(DropNotOpen) as refused:
        await night.enter("ben")
    assert not refused.value.retryable
    assert not await night.engine.withdraw(entry.id)
    assert (await night.document()).entries == 1


async def test_a_withdrawn_entry_is_listed_and_not_in_the_tree(open_night: OpenNight) -> None:
    night = await open_night()
    first = await night.enter("ada")
    assert await night.engine.withdraw(first.id)
    second = await night.enter("ada")
    assert not second.replayed
    assert second.leaf_hash != first.leaf_hash
    document = await night.commit()
    assert (document.entries, document.withdrawn) == (1, 1)
    assert await night.engine.leaf_page(night.drop, "tree", 0) == second.leaf_hash
    assert await night.engine.leaf_page(night.drop, "withdrawn", 0) == first.leaf_hash


async def test_a_user_cannot_enter_without_end(open_night: OpenNight) -> None:
    night = await open_night()
    for _ in range(10):
        assert await night.engine.withdraw((await night.enter("ada")).id)
    with pytest.raises(LimitReached):
        await night.enter("ada")


async def test_a_proven_device_enters_once(open_night: OpenNight) -> None:
    one = await open_night(limits=["device"])
    two = await open_night(drop=one.drop)
    answers = await asyncio.gather(
        *((one, two)[n % 2].enter(f"u{n}", device="key") for n in range(64)), return_exceptions=True
    )
    assert Counter(type(answer) for answer in answers) == {TakenEntry: 1, LimitReached: 63}
    await asyncio.gather(*(one.enter(f"free-{n}") for n in range(16)))
    entered = next(answer for answer in answers if isinstance(answer, TakenEntry))
    assert await one.engine.withdraw(entered.id)
    await one.enter("heir", device="key")


async def test_an_entry_at_the_close_is_in_the_tree_or_refused(open_night: OpenNight) -> None:
    one = await open_night(capacity=5)
    two = await open_night(drop=one.drop)
    await one.shift(0.8)

    async def late(n: int) -> Any:
        await asyncio.sleep(n * 0.0015)
        while True:
            try:
                return await (one, two)[n % 2].enter(f"u{n}")
            except Retryable:  # a busy machine: ask again, after the close too
                await asyncio.sleep(0.05)

    async def lead() -> None:
        while (await two.document()).state != "COMMITTED":
            await two.worker.once()
            await asyncio.sleep(0.02)

    *answers, _ = await asyncio.gather(*(late(n) for n in range(1_000)), lead(), return_exceptions=True)
    assert all(isinstance(answer, TakenEntry | DropNotOpen) for answer in answers), Counter(map(repr, answers))
    promised = {answer.leaf_hash for answer in answers if isinstance(answer, TakenEntry)}
    document = await one.document()
    assert 0 < len(promised) < 1_000
    assert document.entries == len(promised)
    tree = await one.engine.watch.tree(one.drop.id)
    assert set(tree.leaves) == promised
    assert tree.root.hex() == document.entries_root


async def test_a_transaction_that_began_before_the_close_is_waited_for(open_night: OpenNight) -> None:
    night = await open_night()
    await night.enter("ada")
    await night.shift(0.3)
    has_lock, may_continue = asyncio.Event(), asyncio.Event()

    async def slow(connection: Any) -> None:
        locked = await connection.fetchval(
            "SELECT 1 FROM draws WHERE drop_id = $1 AND now() < entries_close AND closed_at IS NULL FOR SHARE",
            night.drop.id,
        )
        assert locked
        has_lock.set()
        await may_continue.wait()
        await connection.execute(
            "INSERT INTO entries (id, drop_id, user_id, salt, leaf_hash) "
            "VALUES (gen_random_uuid(), $1, 'slow', $2, $3)",
            night.drop.id,
            bytes(32),
            maths.leaf_hash(maths.leaf(night.drop.tier, night.drop.year, bytes(32), "slow")),
        )

    entering = asyncio.create_task(night.database.in_transaction(slow))
    await has_lock.wait()
    await asyncio.sleep(0.35)
    assert not await night.worker.once()  # the close waits
    assert (await night.document()).entries_root == ""
    may_continue.set()
    await entering
    await night.lead()
    assert (await night.document()).entries == 2


async def test_what_comes_back_goes_to_exactly_the_next(open_night: OpenNight) -> None:
    night = await open_night(capacity=3)
    for n in range(9):
        await night.enter(f"u{n}")
    await night.draw()
    first = await night.offered()
    await night.pay("r", first[0][2])
    await night.expire(first[1][2], first[2][2])
    assert await night.worker.once()
    assert not await night.worker.once()
    offered = await night.offered()
    seed = bytes.fromhex((await night.document()).seed)
    back = maths.ordered_numbers(seed, [first[1][1], first[2][1]])
    assert [(rank, number) for rank, number, *_ in offered[3:]] == [(4, back[0]), (5, back[1])]
    assert [state for *_, state in offered] == ["USED", "LAPSED", "LAPSED", "HELD", "HELD"]
    assert (await night.document()).offered_rank == 5
    with pytest.raises(HoldRequired):
        await night.pay("late", first[1][2])
    await night.check_sum()
    # Until no rank is left.
    for _ in range(3):
        await night.expire()
        await night.lead()
    document = await night.document()
    assert (document.offered_rank, document.state) == (9, "DONE")
    await night.check_sum()


async def test_more_numbers_than_a_wave_takes_go_out_in_several_waves(
    open_night: OpenNight, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drawing, "OFFERS_A_WAVE", 2)
    night = await open_night(capacity=3)
    for n in range(6):
        await night.enter(f"u{n}")
    await night.draw()
    await night.expire()
    await night.lead()
    rows = await night.database.fetch("SELECT wave FROM draw_offers ORDER BY rank")
    assert [row["wave"] for row in rows] == [1, 1, 1, 2, 2, 3]
    assert [state for *_, state in await night.offered()] == ["LAPSED"] * 3 + ["HELD"] * 3
    await night.check_sum()


async def test_an_erased_entrant_is_passed_over(open_night: OpenNight) -> None:
    night = await open_night(capacity=2)
    for n in range(5):
        await night.enter(f"u{n}")
    before = await night.commit()
    await night.give_round()
    seed = maths.draw_seed(
        bytes.fromhex(before.terms_hash),
        bytes.fromhex(before.entries_root),
        5,
        await night.value("SELECT signature FROM draws"),
    )
    users = {row["leaf_hash"]: row["user_id"] for row in await night.database.fetch("SELECT * FROM entries")}
    order = [users[one] for one in maths.ranked(seed, list(users))]
    await night.database.in_transaction(lambda connection: unname_entries(connection, order[0]))
    await night.lead()
    assert await night.value("SELECT count(*) FROM entries WHERE user_id IS NULL AND salt IS NULL") == 1
    numbers = maths.ordered_numbers(seed, [1, 2])
    assert await night.offered() == [
        (1, None, None, None),
        (2, numbers[1], order[1], "HELD"),
        (3, numbers[0], order[2], "HELD"),
    ]
    await night.check_sum()


async def test_fewer_entries_than_numbers(open_night: OpenNight) -> None:
    night = await open_night(capacity=5)
    nobody = await open_night(capacity=5)
    await night.enter("ada")
    assert (await night.draw()).offered_rank == 1
    assert len(await night.offered()) == 1
    document = await nobody.draw()
    assert (document.entries, document.offered_rank, document.cutoff, document.state) == (0, 0, "", "DONE")
    assert document.entries_root == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


async def test_a_changed_entry_stops_the_draw(open_night: OpenNight) -> None:
    for change in (
        "UPDATE entries SET user_id = 'mallory' WHERE user_id = 'u1'",
        "UPDATE entries SET salt = sha256('x') WHERE user_id = 'u1'",
        "UPDATE entries SET leaf_hash = sha256('x') WHERE user_id = 'u1'",
        "DELETE FROM entries WHERE user_id = 'u1'",
        "UPDATE draw_leaf_pages SET leaves = overlay(leaves PLACING sha256('x') FROM 1)",
    ):
        night = await open_night()
        for n in range(4):
            await night.enter(f"u{n}")
        await night.commit()
        await night.give_round()
        await night.database.execute(change)
        await night.lead()
        assert (await night.document()).state == "COMMITTED", change
        assert await night.value("SELECT count(*) FROM holds WHERE drop_id = $1", night.drop.id) == 0
        await night.database.execute("DELETE FROM entries")
        await night.database.execute("DELETE FROM draw_leaf_pages")


async def test_a_wrong_signature_in_the_row_draws_nothing(open_night: OpenNight) -> None:
    night = await open_night()
    await night.enter("ada")
    document = await night.commit()
    await night.give_round(document.beacon.round + 1)
    await night.lead()
    assert (await night.document()).state == "COMMITTED"


async def test_a_root_that_comes_late_takes_the_next_round_and_both_are_recorded(open_night: OpenNight) -> None:
    night = await open_night(entries_close=2, round_after_s=2, challenge_s=60)
    await night.shift(60)
    await night.enter("ada")
    announced = (await night.document()).beacon.round
    # As of a process that was paused between signing and showing: the round is then nearer than 60 s.
    await night.shift(-3)
    for _ in range(3):
        await night.worker.once()
    paused = await night.document()
    await night.database.execute("UPDATE draw_checkpoints SET round_at = now() + interval '59 seconds'")
    await night.lead()
    document = await night.document()
    assert paused.checkpoint == document.refused[0].checkpoint
    assert document.beacon.round > document.refused[0].round >= announced
    assert f"round {document.beacon.round}\n" in document.checkpoint
    due = BEACON.chain.round_at(document.beacon.round)
    assert due - datetime.now(UTC) > timedelta(seconds=60)
    assert not await night.value("SELECT signature FROM draws")


async def test_a_late_close_names_a_later_round_at_once(open_night: OpenNight) -> None:
    night = await open_night(entries_close=-5, round_after_s=1, challenge_s=1)
    await night.shift(60)
    await night.enter("ada")
    announced = (await night.document()).beacon.round
    await night.shift(-3)
    await night.lead()
    document = await night.document()
    assert document.beacon.round > announced
    assert list(document.refused) == []
    published = document.checkpoint.split("published ")[1].split("\n")[0]
    due = BEACON.chain.round_at(document.beacon.round)
    assert due - datetime.fromisoformat(published) >= timedelta(seconds=1)


async def test_two_processes_draw_once(open_night: OpenNight) -> None:
    one = await open_night(capacity=3)
    two = await open_night(drop=one.drop)
    for n in range(20):
        await one.enter(f"u{n}")

    async def lead_both() -> None:
        for _ in range(6):
            await asyncio.gather(one.worker.once(), two.worker.once())

    await one.shift()
    await lead_both()
    await one.give_round()
    await lead_both()
    assert [rank for rank, *_ in await one.offered()] == [1, 2, 3]
    assert await one.value("SELECT wave FROM draws") == 1
    assert await one.value("SELECT count(*) FROM draw_checkpoints") == 1
    await one.check_sum()


async def test_terms_and_what_they_name_never_change(open_night: OpenNight) -> None:
    night = await open_night()
    for change in (
        "UPDATE drops SET capacity = capacity + 1",
        "UPDATE drops SET closes_at = now()",
        "UPDATE drops SET hold_ttl_s = 60",
        "UPDATE draws SET entries_close = now()",
        "UPDATE draws SET terms = '{}'",
    ):
        with pytest.raises(VyrisError):
            await night.database.execute(change)


async def test_production_knows_no_development_chain_and_only_its_own_key(open_night: OpenNight) -> None:
    night = await open_night()
    await night.enter("ada")
    await night.shift()
    production = Beacons(Relays(QUICKNET, []), None)
    stranger = DrawSigner(Ed25519PrivateKey.generate(), SIGNER.name)
    for beacons, signer in ((production, SIGNER), (night.beacons, stranger), (night.beacons, None)):
        engine = DrawEngine(night.database, signer, beacons, DrawSettings(draw_relays=""))
        with pytest.raises(Retryable):
            await engine.enter(night.drop, EntryOrder("ben", ()), 1)
        worker = DrawWorker(night.database, beacons, signer)
        for _ in range(5):
            await worker.once()
        assert (await night.document()).checkpoint == ""
    await night.lead()  # a process with chain and key continues
    assert (await night.document()).state == "COMMITTED"


async def test_entrants_are_forgotten_long_after_the_close(open_night: OpenNight) -> None:
    night = await open_night()
    await night.enter("ada")
    before = await night.commit()
    forgetting = ForgettingEntrants(night.database, 30)
    await forgetting.once()
    assert await night.value("SELECT user_id FROM entries") == "ada"
    await night.end_sale(ended_s_ago=31 * 86_400)
    await forgetting.once()
    row = await night.database.fetchrow("SELECT user_id, salt, leaf_hash FROM entries")
    assert row is not None
    assert tuple(row) == (None, None, await night.engine.leaf_page(night.drop, "tree", 0))
    assert (await night.document()).entries_root == before.entries_root


async def test_an_erasure_during_the_draw_leaves_no_offer_under_the_name(
    open_night: OpenNight, monkeypatch: pytest.MonkeyPatch
) -> None:
    night = await open_night(capacity=3)
    for n in range(3):
        await night.enter(f"u{n}")
    await night.commit()
    await night.give_round()
    erasing: list[asyncio.Task[Any]] = []
    reach = failpoints.reach

    async def erase_meanwhile(point: str) -> None:
        if point == "draw.ranked":  # the draw has read the users, and makes the offers next
            erasing.append(asyncio.create_task(erase_person(night.database, "u0", Actor("test", "by request"))))
            await asyncio.sleep(0.2)
        await reach(point)

    monkeypatch.setattr(failpoints, "reach", erase_meanwhile)
    await night.lead()
    assert (await erasing[0]).entries == 1
    states = await night.database.fetch("SELECT user_id, expires_at <= now() AS is_over FROM holds ORDER BY user_id")
    assert [(row["user_id"].partition("-")[0], row["is_over"]) for row in states] == [
        ("erased", True),
        ("u1", False),
        ("u2", False),
    ]
    await night.check_sum()


async def draw_two_of_four(open_night: OpenNight) -> tuple[Night, str, str]:
    """A draw of two numbers among four users, and the users of its offers."""
    night = await open_night(capacity=2)
    for n in range(4):
        await night.enter(f"u{n}")
    await night.draw()
    first, second = [user for _, _, user, _ in await night.offered()]
    return night, first, second


async def test_a_draw_that_is_cancelled_after_its_offers_ends_them(open_night: OpenNight) -> None:
    night, first, second = await draw_two_of_four(open_night)
    await night.pay("r", first)
    desk = DrawDesk(night.database, Actor("test", "a leaked key"))
    await desk.cancel(night.drop)
    assert await night.value("SELECT count(*) FROM holds WHERE state = 'HELD' AND expires_at > now()") == 0
    await night.expire()
    await night.lead()
    assert [state for *_, state in await night.offered()] == ["USED", "LAPSED"]
    with pytest.raises(HoldRequired):
        await night.pay("late", second)
    with pytest.raises(DrawRefused):
        await desk.cancel(night.drop)
    assert ((await night.document()).state, (await night.document()).cancel_reason) == ("CANCELLED", "a leaked key")
    await night.check_sum()


async def test_after_the_sale_live_offers_mint_and_nothing_is_offered_again(open_night: OpenNight) -> None:
    night, first, second = await draw_two_of_four(open_night)
    await night.end_sale(ended_s_ago=1)
    assert (await night.pay("r", first))[1] is False
    await night.expire()
    await night.lead()
    assert [state for *_, state in await night.offered()] == ["USED", "LAPSED"]
    assert (await night.document()).state == "DONE"
    refused = await night.engine.find_offer(night.drop, second)
    assert isinstance(refused, NotOffered)
    assert not refused.retryable
    with pytest.raises(DropNotOpen):
        await night.pay("late", second)
    await night.check_sum()
