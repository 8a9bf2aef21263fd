"""Moves over gRPC: who may move, which answers they get, and that a membership never has two active devices."""

from __future__ import annotations

import asyncio
import uuid

import pytest

from tests.stand_ins.reforge_service import Device, World, text_of, token_in
from vyris.errors import Expired, InvalidRequest, NotFound, RateLimited, Unauthorized, VyrisError
from vyris.reforge.v1 import reforge_pb2


async def test_a_membership_moves_by_the_link_in_the_mail(reforge: World) -> None:
    old, new = Device("device-A"), Device("device-B")
    member = await reforge.member(old)
    begun = await reforge.init(member, new, old=old.name)
    assert begun.status == "PENDING"
    assert not begun.HasField("confirmation_code")
    mail = await reforge.mail_with(member, "confirm")
    text = text_of(mail)
    assert "device-B" in text
    assert "203.0.113.9" in text
    assert "198.51.100.7" not in text
    assert "Genesis 2025" in text
    confirmed = await reforge.confirm(token_in(mail))
    assert (confirmed.status, confirmed.membership_id, confirmed.new_device_id) == ("CONFIRMED", member, "device-B")
    assert await reforge.active(member) == ["device-B"]
    notice = await reforge.mail_with(member, "undo")
    assert "moved to a new device" in notice["Subject"]


async def test_a_move_writes_an_event_and_an_audit_entry(reforge: World) -> None:
    member = await reforge.member(Device("A"))
    reforge_id = await reforge.move(member, Device("A"), Device("B"))
    kinds = await reforge.database.fetch(
        "SELECT kind FROM membership_events WHERE membership_id = $1", uuid.UUID(member)
    )
    assert [row["kind"] for row in kinds] == ["moved"]
    details = await reforge.database.fetchval("SELECT details->>'reforge_id' FROM audit_log WHERE subject = $1", member)
    assert details == reforge_id


async def test_the_first_device_is_enrolled_by_a_reforge_without_an_old_one(reforge: World) -> None:
    member = await reforge.member()
    await reforge.move(member, None, Device("first"))
    assert await reforge.active(member) == ["first"]


async def test_an_unknown_membership_is_not_found(reforge: World) -> None:
    for unknown in (str(uuid.uuid4()), "nonsense", "g" * 36):
        with pytest.raises(NotFound):
            await reforge.init(unknown, Device("B"))


async def test_a_device_that_is_not_the_active_one_is_not_found(reforge: World) -> None:
    with pytest.raises(NotFound):
        await reforge.init(await reforge.member(Device("A")), Device("B"), old="Z")
    with pytest.raises(NotFound):
        await reforge.init(await reforge.member(), Device("B"), old="Z")


async def test_another_user_and_a_revoked_membership_are_unauthorized(reforge: World) -> None:
    member = await reforge.member(Device("A"))
    with pytest.raises(Unauthorized):
        await reforge.init(member, Device("B"), old="A", user_id="eve")
    await reforge.database.execute("UPDATE memberships SET revoked_at = now() WHERE id = $1", uuid.UUID(member))
    with pytest.raises(Unauthorized):
        await reforge.init(member, Device("B"), old="A")


@pytest.mark.parametrize(
    "changes",
    [
        {"user_id": ""},
        {"user_id": "ä"},
        {"user_id": "u" * 129},
        {"new_device_id": ""},
        {"new_device_id": "a\nb"},
        {"new_public_key": ""},
        {"new_public_key": "no key"},
        {"new_public_key": "a\0b"},
    ],
)
async def test_a_field_out_of_bounds_is_an_invalid_request(reforge: World, changes: dict[str, str]) -> None:
    member = await reforge.member()
    with pytest.raises(InvalidRequest):
        await reforge.init(member, Device("B"), **changes)


async def test_an_unchanged_device_is_an_invalid_request(reforge: World) -> None:
    old = Device("A")
    member = await reforge.member(old)
    with pytest.raises(InvalidRequest):
        await reforge.init(member, Device("A"), old="A")
    with pytest.raises(InvalidRequest):
        await reforge.init(member, old, old="A", new_device_id="A2")


async def test_where_a_device_is_enrolled_it_has_to_be_named(reforge: World) -> None:
    with pytest.raises(InvalidRequest):
        await reforge.init(await reforge.member(Device("A")), Device("B"))


async def test_without_an_address_on_file_nothing_can_move(reforge: World) -> None:
    with pytest.raises(InvalidRequest, match="e-mail"):
        await reforge.init(await reforge.member(email_address=None), Device("B"))


async def test_an_unknown_token_is_not_found_and_a_missing_one_invalid(reforge: World) -> None:
    for token in ("x", "A" * 43, "é", "A" * 5000):
        with pytest.raises(NotFound):
            await reforge.confirm(token)
    with pytest.raises(InvalidRequest):
        await reforge.confirm("")


async def test_a_hundred_confirms_at_once_are_one_move(reforge: World) -> None:
    member = await reforge.member(Device("A"))
    await reforge.init(member, Device("B"), old="A")
    token = token_in(await reforge.mail_with(member, "confirm"))
    answers = await asyncio.gather(*(reforge.confirm(token) for _ in range(100)), return_exceptions=True)
    assert sum(not isinstance(answer, BaseException) for answer in answers) == 1
    refused = [answer for answer in answers if isinstance(answer, VyrisError)]
    assert [answer.reason for answer in refused] == ["EXPIRED"] * 99
    assert {answer.http_status for answer in refused} == {410}
    assert await reforge.active(member) == ["B"]


async def test_init_raced_with_confirm_never_leaves_two_active_devices(reforge: World) -> None:
    for round_number in range(8):
        member = await reforge.member(Device("A"))
        await reforge.init(member, Device("B"), old="A")
        token = token_in(await reforge.mail_with(member, "confirm"))
        await asyncio.gather(
            *(reforge.init(member, Device(f"C{n}"), old="A") for n in range(3)),
            *(reforge.confirm(token) for _ in range(3)),
            return_exceptions=True,
        )
        active = await reforge.active(member)
        assert active in (["A"], ["B"]), round_number
        pending = await reforge.database.fetchval(
            "SELECT count(*) FROM reforge_requests WHERE membership_id = $1 AND state = 'PENDING'", uuid.UUID(member)
        )
        assert pending <= 1


async def test_a_newer_request_supersedes_the_older(reforge: World) -> None:
    member = await reforge.member(Device("A"))
    first = await reforge.init(member, Device("B"), old="A")
    older = token_in(await reforge.mail_with(member, "confirm"))
    await reforge.init(member, Device("C"), old="A")
    newer = token_in(await reforge.mail_with(member, "confirm", beyond=1))
    with pytest.raises(Expired):
        await reforge.confirm(older)
    assert (await status(reforge, first.reforge_id)).status == "SUPERSEDED"
    assert (await reforge.confirm(newer)).new_device_id == "C"


async def test_an_unproven_request_never_supersedes_a_proven_one(reforge: World) -> None:
    old = Device("A")
    member = await reforge.member(old)
    proven = await reforge.init(member, Device("B"), old="A", proven_by=old)
    token = token_in(await reforge.mail_with(member, "confirm"))
    stranger = await reforge.init(member, Device("evil"), old="A")
    assert (await status(reforge, proven.reforge_id)).status == "PENDING"
    assert (await reforge.confirm(token)).new_device_id == "B"
    assert (await status(reforge, stranger.reforge_id)).status == "SUPERSEDED"


async def test_a_proven_request_supersedes_an_unproven_one(reforge: World) -> None:
    old = Device("A")
    member = await reforge.member(old)
    stranger = await reforge.init(member, Device("evil"), old="A")
    await reforge.init(member, Device("B"), old="A", proven_by=old)
    assert (await status(reforge, stranger.reforge_id)).status == "SUPERSEDED"


async def test_a_stranger_who_is_limited_does_not_lock_the_owner_out(reforge: World) -> None:
    old = Device("A")
    member = await reforge.member(old)
    for number in range(6):
        await reforge.init(member, Device(f"evil-{number}"), old="A")
    with pytest.raises(RateLimited) as refusal:
        await reforge.init(member, Device("evil-7"), old="A")
    assert refusal.value.retry_after_s is not None
    assert 3000 < refusal.value.retry_after_s <= 3600
    assert (await reforge.init(member, Device("B"), old="A", proven_by=old)).status == "PENDING"


async def test_a_link_past_its_time_has_expired(reforge: World) -> None:
    member = await reforge.member()
    begun = await reforge.init(member, Device("B"))
    token = token_in(await reforge.mail_with(member, "confirm"))
    await reforge.database.execute(
        "UPDATE reforge_requests SET expires_at = now() - interval '1 second' WHERE id = $1",
        uuid.UUID(begun.reforge_id),
    )
    assert (await status(reforge, begun.reforge_id)).status == "EXPIRED"
    with pytest.raises(Expired):
        await reforge.confirm(token)
    assert await reforge.active(member) == []


async def test_a_revoked_membership_does_not_move_and_its_request_says_so(reforge: World) -> None:
    member = await reforge.member()
    begun = await reforge.init(member, Device("B"))
    token = token_in(await reforge.mail_with(member, "confirm"))
    await reforge.database.execute("UPDATE memberships SET revoked_at = now() WHERE id = $1", uuid.UUID(member))
    assert (await status(reforge, begun.reforge_id)).status == "EXPIRED"
    with pytest.raises(Expired):
        await reforge.confirm(token)


async def test_a_caller_whose_answer_was_lost_can_read_the_state(reforge: World) -> None:
    member = await reforge.member(Device("A"))
    begun = await reforge.init(member, Device("B"), old="A")
    pending = await status(reforge, begun.reforge_id)
    assert (pending.status, pending.expires_at, pending.decided_at) == ("PENDING", begun.expires_at, "")
    token = token_in(await reforge.mail_with(member, "confirm"))
    await reforge.confirm(token)
    by_token = await reforge.call("GetReforge", reforge_pb2.GetReforgeRequest(token=token))
    assert by_token == await status(reforge, begun.reforge_id)
    assert by_token.status == "CONFIRMED"
    assert by_token.undo_until > by_token.decided_at
    with pytest.raises(NotFound):
        await status(reforge, str(uuid.uuid4()))
    with pytest.raises(InvalidRequest):
        await reforge.call("GetReforge", reforge_pb2.GetReforgeRequest())


async def test_where_the_setting_asks_for_it_the_new_device_shows_a_code(reforge_with_code: World) -> None:
    world = reforge_with_code
    member = await world.member(Device("A"))
    begun = await world.init(member, Device("B"), old="A")
    assert len(begun.confirmation_code) == 6
    mail = await world.mail_with(member, "confirm")
    assert begun.confirmation_code not in str(mail)
    token = token_in(mail)
    with pytest.raises(Unauthorized):
        await world.confirm(token)
    with pytest.raises(InvalidRequest):
        await world.confirm(token, "12345x")
    spaced = f"{begun.confirmation_code[:3]} {begun.confirmation_code[3:]}"
    assert (await world.confirm(token, spaced)).status == "CONFIRMED"


async def test_guessing_at_the_code_ends_the_request(reforge_with_code: World) -> None:
    world = reforge_with_code
    member = await world.member(Device("A"))
    begun = await world.init(member, Device("B"), old="A")
    token = token_in(await world.mail_with(member, "confirm"))
    wrong = "000000" if begun.confirmation_code != "000000" else "000001"
    for _ in range(5):
        with pytest.raises(Unauthorized):
            await world.confirm(token, wrong)
    with pytest.raises(Expired):
        await world.confirm(token, begun.confirmation_code)
    assert await world.active(member) == ["A"]


@pytest.mark.parametrize("zero", [0xFF10, 0x0660, 0x0966, 0x1D7CE])  # full-width, Arabic, Devanagari, bold
async def test_the_right_code_may_be_typed_in_the_digits_of_any_keyboard(reforge_with_code: World, zero: int) -> None:
    world = reforge_with_code
    member = await world.member(Device("A"))
    begun = await world.init(member, Device("B"), old="A")
    token = token_in(await world.mail_with(member, "confirm"))
    typed = "".join(chr(zero + int(digit)) for digit in begun.confirmation_code)
    # As it was pasted out of the mail.
    pasted = f"<{token[:20]}\r\n{token[20:]}>."
    assert (await world.confirm(pasted, f"{typed[:3]}\u2013{typed[3:]}")).status == "CONFIRMED"


async def test_text_that_is_no_code_does_not_count_as_a_guess(reforge_with_code: World) -> None:
    world = reforge_with_code
    member = await world.member(Device("A"))
    begun = await world.init(member, Device("B"), old="A")
    token = token_in(await world.mail_with(member, "confirm"))
    for typed in ("12345", "1234567", "12345x", "code", "½23456", "9" * 65, begun.confirmation_code[:5]):
        with pytest.raises(InvalidRequest):
            await world.confirm(token, typed)
    counted = "SELECT code_attempts FROM reforge_requests WHERE id = $1"
    assert await world.database.fetchval(counted, uuid.UUID(begun.reforge_id)) == 0
    assert (await world.confirm(token, begun.confirmation_code)).status == "CONFIRMED"


async def test_a_proven_request_needs_no_code(reforge_with_code: World) -> None:
    old = Device("A")
    member = await reforge_with_code.member(old)
    begun = await reforge_with_code.init(member, Device("B"), old="A", proven_by=old)
    assert not begun.HasField("confirmation_code")
    await reforge_with_code.confirm(token_in(await reforge_with_code.mail_with(member, "confirm")))
    assert await reforge_with_code.active(member) == ["B"]


async def status(world: World, reforge_id: str) -> reforge_pb2.GetReforgeResponse:
    answer: reforge_pb2.GetReforgeResponse = await world.call(
        "GetReforge", reforge_pb2.GetReforgeRequest(reforge_id=reforge_id)
    )
    return answer
