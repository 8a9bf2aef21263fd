"""A device can only ask for another address: the new address confirms, the old one refuses or undoes."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime, timedelta

import pytest

from services.data.storage.database import Database
from services.data.storage.settings import PostgresSettings
from services.reforge.operator_email_changes import OperatorEmailChanges
from services.reforge.tokens import TokenKey
from tests.stand_ins.reforge_service import Device, World, text_of, token_in
from vyris.errors import Conflict, Expired, InvalidRequest, NotFound, Unauthorized
from vyris.reforge.v1 import reforge_pb2


def new_address() -> str:
    return f"new-{uuid.uuid4().hex[:8]}@mail.example"


async def make_confirmed_change(world: World, member: str, device: Device) -> str:
    """Let a device ask for another address and the new address confirm it; return the new address."""
    email = new_address()
    await world.change_email(member, email, device)
    assert await world.press("confirm", token_in(await world.mail_to(email, "confirm"))) == 200
    return email


async def by_operator(world: World, member: str, email: str) -> None:
    secret = (world.process.log_path.parent / "state" / "keys" / "reforge_token_key").read_bytes()
    async with Database.open(PostgresSettings(database_url=world.database_url), "test-operator") as database:
        changes = OperatorEmailChanges(database, TokenKey(secret))
        await changes.change_by_operator(uuid.UUID(member), email, operator="op", reason="case 1", delay_h=72)


async def test_a_devices_change_waits_for_the_delay_and_for_the_new_address(reforge: World) -> None:
    device = Device("A")
    member, email = await reforge.member(device), new_address()
    asked = await reforge.change_email(member, email, device)
    assert asked.status == "PENDING"
    waits = datetime.fromisoformat(asked.effective_at) - datetime.now(UTC)
    assert timedelta(hours=71) < waits <= timedelta(hours=72)
    notice = await reforge.mail_with(member, "refuse")
    assert email not in text_of(notice)
    token = token_in(await reforge.mail_to(email, "confirm"))
    assert await reforge.press("confirm", token) == 200
    assert await reforge.press("confirm", token) == 410
    assert await reforge.address_on_file(member) == reforge.address(member)
    await reforge.hours_pass(member, 72)
    assert await reforge.address_on_file(member) == email


async def test_without_confirmation_at_the_new_address_a_change_lapses(reforge: World) -> None:
    device = Device("A")
    member, email = await reforge.member(device), new_address()
    await reforge.change_email(member, email, device)
    token = token_in(await reforge.mail_to(email, "confirm"))
    await reforge.hours_pass(member, 72)
    assert await reforge.address_on_file(member) == reforge.address(member)
    assert await reforge.press("confirm", token) == 410
    assert (await reforge.list_moves(member, device)).email_changes[0].status == "REFUSED"


async def test_the_token_of_an_address_moves_nothing(reforge: World) -> None:
    device = Device("A")
    member, email = await reforge.member(device), new_address()
    await reforge.change_email(member, email, device)
    with pytest.raises(NotFound):
        await reforge.confirm(token_in(await reforge.mail_to(email, "confirm")))


async def test_the_old_address_refuses_a_devices_change(reforge: World) -> None:
    device = Device("A")
    member = await reforge.member(device)
    await make_confirmed_change(reforge, member, device)
    token = token_in(await reforge.mail_with(member, "refuse"), "refuse")
    await reforge.call("RefuseReforge", reforge_pb2.RefuseReforgeRequest(token=token))
    await reforge.hours_pass(member, 100)
    assert await reforge.address_on_file(member) == reforge.address(member)


async def test_the_old_address_takes_back_a_change_in_effect_and_the_moves_that_followed(reforge: World) -> None:
    owner, thief = Device("A"), Device("T")
    member = await reforge.member(owner)
    email = await make_confirmed_change(reforge, member, owner)
    await reforge.hours_pass(member, 72)
    notice = await reforge.mail_with(member, "refuse", beyond=1)
    assert "was changed" in text_of(notice)
    assert email not in text_of(notice)
    await reforge.init(member, thief, old="A")
    await reforge.confirm(token_in(await reforge.mail_to(email, "confirm", beyond=1)))
    assert await reforge.active(member) == ["T"]
    notice = await reforge.mail_with(member, "refuse", beyond=2)
    assert "confirmed at" in text_of(notice)
    assert await reforge.press("refuse", token_in(notice, "refuse")) == 200
    assert await reforge.active(member) == ["A"]
    assert await reforge.address_on_file(member) == reforge.address(member)
    assert await reforge.press("refuse", token_in(notice, "refuse")) == 410


async def test_a_move_from_a_recent_address_can_be_undone_for_as_long_as_the_address(reforge: World) -> None:
    owner, thief = Device("A"), Device("T")
    member = await reforge.member(owner)
    email = await make_confirmed_change(reforge, member, owner)
    await reforge.hours_pass(member, 72)
    await reforge.hours_pass(member, 60)  # of the 72 in which the change can be undone
    await reforge.init(member, thief, old="A")
    await reforge.confirm(token_in(await reforge.mail_to(email, "confirm", beyond=1)))
    await reforge.hours_pass(member, 23)  # the time to undo only the change is over
    token = token_in(await reforge.mail_with(member, "refuse", beyond=2), "refuse")
    assert await reforge.press("refuse", token) == 200
    assert (await reforge.active(member), await reforge.address_on_file(member)) == (["A"], reforge.address(member))


async def test_a_change_cannot_be_taken_back_for_ever(reforge: World) -> None:
    device = Device("A")
    member = await reforge.member(device)
    email = await make_confirmed_change(reforge, member, device)
    token = token_in(await reforge.mail_with(member, "refuse"), "refuse")
    await reforge.hours_pass(member, 72)
    await reforge.hours_pass(member, 72)
    with pytest.raises(Expired):
        await reforge.call("RefuseReforge", reforge_pb2.RefuseReforgeRequest(token=token))
    assert await reforge.address_on_file(member) == email


async def test_until_it_takes_effect_links_go_to_the_old_address(reforge: World) -> None:
    owner = Device("A")
    member = await reforge.member(owner)
    email = await make_confirmed_change(reforge, member, owner)
    await reforge.hours_pass(member, 71)
    await reforge.init(member, Device("T"), old="A")
    await reforge.mail_with(member, "confirm")
    await asyncio.sleep(0.3)
    assert len(reforge.mailbox.to(email)) == 1


async def test_undoing_a_move_undoes_the_address_changes_that_followed(reforge: World) -> None:
    owner, thief = Device("A"), Device("T")
    member = await reforge.member(owner)
    reforge_id = await reforge.move(member, owner, thief)
    applied = await make_confirmed_change(reforge, member, thief)
    # As an earlier version applied it: at once.
    await reforge.database.execute(
        "UPDATE email_changes SET effective_at = now(), applied_at = clock_timestamp() WHERE new_email = $1", applied
    )
    await reforge.database.execute(
        "UPDATE contacts SET email = $2 WHERE membership_id = $1", uuid.UUID(member), applied
    )
    waiting = await make_confirmed_change(reforge, member, thief)
    request = reforge_pb2.UndoReforgeRequest(reforge_id=reforge_id)
    await reforge.proven("UndoReforge", request, owner)
    assert await reforge.address_on_file(member) == reforge.address(member)
    await reforge.hours_pass(member, 100)
    assert await reforge.address_on_file(member) == reforge.address(member)
    assert waiting != applied
    statuses = [change.status for change in (await reforge.list_moves(member, owner)).email_changes]
    assert statuses == ["REFUSED", "UNDONE"]


async def test_a_move_ends_the_change_of_address_of_the_device_before(reforge: World) -> None:
    stolen, owner = Device("A"), Device("B")
    member = await reforge.member(stolen)
    await make_confirmed_change(reforge, member, stolen)
    await reforge.move(member, stolen, owner)
    await reforge.hours_pass(member, 100)
    assert await reforge.address_on_file(member) == reforge.address(member)


async def test_a_device_that_just_took_over_waits_until_the_move_is_final(reforge: World) -> None:
    old, new = Device("A"), Device("B")
    member = await reforge.member(old)
    reforge_id = await reforge.move(member, old, new)
    await reforge.database.execute(
        "UPDATE reforge_requests SET undo_until = now() + interval '7 days' WHERE id = $1", uuid.UUID(reforge_id)
    )
    asked = await reforge.change_email(member, new_address(), new)
    assert datetime.fromisoformat(asked.effective_at) - datetime.now(UTC) > timedelta(days=6, hours=23)


async def test_nothing_a_device_does_touches_an_operators_change(reforge: World) -> None:
    owner, thief = Device("A"), Device("T")
    member, recovery = await reforge.member(owner), new_address()
    reforge_id = await reforge.move(member, owner, thief)
    await by_operator(reforge, member, recovery)
    with pytest.raises(Conflict):
        await reforge.change_email(member, new_address(), thief)
    with pytest.raises(NotFound):
        await reforge.proven("RefuseEmailChange", reforge_pb2.RefuseEmailChangeRequest(membership_id=member), thief)
    await reforge.move(member, thief, Device("T2"))
    await reforge.proven("UndoReforge", reforge_pb2.UndoReforgeRequest(reforge_id=reforge_id), owner)
    [change] = (await reforge.list_moves(member, owner)).email_changes
    assert (change.status, change.asked_by) == ("SCHEDULED", "OPERATOR")
    await reforge.hours_pass(member, 72)
    assert await reforge.address_on_file(member) == recovery


async def test_an_operator_replaces_a_devices_change(reforge: World) -> None:
    device, recovery = Device("A"), new_address()
    member = await reforge.member(device)
    await make_confirmed_change(reforge, member, device)
    await by_operator(reforge, member, recovery)
    await reforge.hours_pass(member, 72)
    assert await reforge.address_on_file(member) == recovery


async def test_an_address_that_an_operator_set_later_is_not_taken_back(reforge: World) -> None:
    owner, recovery = Device("A"), new_address()
    member = await reforge.member(owner)
    await make_confirmed_change(reforge, member, owner)
    await reforge.hours_pass(member, 72)
    await by_operator(reforge, member, recovery)
    await reforge.database.execute(
        "UPDATE email_changes SET effective_at = now() WHERE asked_by = 'operator:op' AND membership_id = $1",
        uuid.UUID(member),
    )
    await reforge.hours_pass(member, 1)
    assert await reforge.address_on_file(member) == recovery
    token = token_in(await reforge.mail_with(member, "refuse"), "refuse")
    with pytest.raises(Expired):
        await reforge.call("RefuseReforge", reforge_pb2.RefuseReforgeRequest(token=token))
    assert await reforge.address_on_file(member) == recovery


async def test_a_device_takes_back_what_a_device_asked_for(reforge: World) -> None:
    device = Device("A")
    member = await reforge.member(device)
    await make_confirmed_change(reforge, member, device)
    request = reforge_pb2.RefuseEmailChangeRequest(membership_id=member)
    with pytest.raises(Unauthorized):
        await reforge.proven("RefuseEmailChange", request, Device("other"))
    assert (await reforge.proven("RefuseEmailChange", request, device)).status == "REFUSED"
    with pytest.raises(NotFound):
        await reforge.proven("RefuseEmailChange", request, device)
    await reforge.hours_pass(member, 100)
    assert await reforge.address_on_file(member) == reforge.address(member)


async def test_a_first_address_waits_too_and_the_device_can_refuse_it(reforge: World) -> None:
    device = Device("A")
    member = await reforge.member(device, email_address=None)
    email = await make_confirmed_change(reforge, member, device)
    assert await reforge.address_on_file(member) is None
    assert (await reforge.list_moves(member, device)).email_changes[0].status == "SCHEDULED"
    await reforge.hours_pass(member, 72)
    assert await reforge.address_on_file(member) == email


async def test_a_newer_change_of_a_device_takes_the_place_of_the_older(reforge: World) -> None:
    device = Device("A")
    member = await reforge.member(device)
    await make_confirmed_change(reforge, member, device)
    newer = await make_confirmed_change(reforge, member, device)
    await reforge.hours_pass(member, 72)
    assert await reforge.address_on_file(member) == newer


async def test_who_may_ask_for_another_address(reforge: World) -> None:
    device = Device("A")
    member = await reforge.member(device)
    for wrong in (None, Device("other")):
        with pytest.raises(Unauthorized):
            await reforge.change_email(member, new_address(), wrong)
    with pytest.raises(InvalidRequest):
        await reforge.change_email(member, reforge.address(member), device)
    with pytest.raises(Unauthorized):
        await reforge.change_email(await reforge.member(), new_address(), device)


@pytest.mark.parametrize("email", ["", "ada", "a b@mail.example", "a\n@b.example", "x" * 250 + "@b.example"])
async def test_a_malformed_address_is_invalid(reforge: World, email: str) -> None:
    device = Device("A")
    with pytest.raises(InvalidRequest):
        await reforge.change_email(await reforge.member(device), email, device)


async def test_of_many_confirmations_and_refusals_at_once_one_counts(reforge: World) -> None:
    device = Device("A")
    member, email = await reforge.member(device), new_address()
    await reforge.change_email(member, email, device)
    confirm = token_in(await reforge.mail_to(email, "confirm"))
    answers = await asyncio.gather(*(reforge.press("confirm", confirm) for _ in range(10)))
    assert sorted(answers) == [200] + [410] * 9
    refuse = token_in(await reforge.mail_with(member, "refuse"), "refuse")
    answers = await asyncio.gather(*(reforge.press("refuse", refuse) for _ in range(10)))
    assert sorted(answers) == [200] + [410] * 9
