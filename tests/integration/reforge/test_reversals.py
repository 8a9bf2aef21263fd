"""Refuse a move, undo a move, and change the owner's address."""

from __future__ import annotations

import asyncio
import uuid

import pytest

from services.data.storage.database import Database
from services.data.storage.settings import PostgresSettings
from services.reforge.operator_email_changes import OperatorEmailChanges
from services.reforge.tokens import TokenKey
from tests.stand_ins.reforge_service import Device, World, token_in
from vyris.errors import Expired, NotFound, Unauthorized
from vyris.reforge.v1 import reforge_pb2


async def undo(world: World, **names: str) -> reforge_pb2.UndoReforgeResponse:
    answer: reforge_pb2.UndoReforgeResponse = await world.call("UndoReforge", reforge_pb2.UndoReforgeRequest(**names))
    return answer


async def undo_by(world: World, device: Device, reforge_id: str) -> None:
    request = reforge_pb2.UndoReforgeRequest(reforge_id=reforge_id)
    await world.call("UndoReforge", request, device.proof("UndoReforge", request))


async def test_the_mailbox_can_refuse_and_the_link_is_void(reforge: World) -> None:
    member = await reforge.member(Device("A"))
    await reforge.init(member, Device("B"), old="A")
    token = token_in(await reforge.mail_with(member, "confirm"), "refuse")
    await reforge.call("RefuseReforge", reforge_pb2.RefuseReforgeRequest(token=token))
    for call in (reforge.confirm(token), reforge.call("RefuseReforge", reforge_pb2.RefuseReforgeRequest(token=token))):
        with pytest.raises(Expired):
            await call


async def test_the_active_device_can_refuse(reforge: World) -> None:
    old = Device("A")
    member = await reforge.member(old)
    begun = await reforge.init(member, Device("evil"), old="A")
    request = reforge_pb2.RefuseReforgeRequest(reforge_id=begun.reforge_id)
    with pytest.raises(Unauthorized):
        await reforge.call("RefuseReforge", request)
    with pytest.raises(Unauthorized):
        await reforge.call("RefuseReforge", request, Device("evil").proof("RefuseReforge", request))
    assert (await reforge.call("RefuseReforge", request, old.proof("RefuseReforge", request))).status == "REFUSED"


async def test_the_mailbox_can_take_a_move_back(reforge: World) -> None:
    old = Device("A")
    member = await reforge.member(old)
    await reforge.move(member, old, Device("B"))
    token = token_in(await reforge.mail_with(member, "undo"), "undo")
    answer = await undo(reforge, token=token)
    assert (answer.status, answer.membership_id) == ("UNDONE", member)
    assert await reforge.active(member) == ["A"]
    with pytest.raises(Expired):
        await undo(reforge, token=token)


async def test_the_old_device_can_take_a_move_back_and_no_other(reforge: World) -> None:
    old, new = Device("A"), Device("B")
    member = await reforge.member(old)
    reforge_id = await reforge.move(member, old, new)
    with pytest.raises(Unauthorized):
        await undo(reforge, reforge_id=reforge_id)
    with pytest.raises(Unauthorized):
        await undo_by(reforge, new, reforge_id)
    await undo_by(reforge, old, reforge_id)
    assert await reforge.active(member) == ["A"]


async def test_a_thief_cannot_keep_a_membership_by_moving_it_again(reforge: World) -> None:
    owner, thief, accomplice = Device("A"), Device("T"), Device("T2")
    member = await reforge.member(owner)
    taken = await reforge.move(member, owner, thief)
    moved_on = await reforge.move(member, thief, accomplice)
    with pytest.raises(Unauthorized):
        await undo_by(reforge, accomplice, taken)
    await undo_by(reforge, owner, taken)
    assert await reforge.active(member) == ["A"]
    for device, move in ((thief, moved_on), (owner, taken)):
        with pytest.raises(Expired):
            await undo_by(reforge, device, move)
    request = reforge_pb2.GetReforgeRequest(reforge_id=moved_on)
    assert (await reforge.call("GetReforge", request)).status == "UNDONE"
    assert await reforge.active(member) == ["A"]


async def test_the_second_of_two_moves_can_be_undone_alone(reforge: World) -> None:
    one, two, three = Device("A"), Device("B"), Device("C")
    member = await reforge.member(one)
    first = await reforge.move(member, one, two)
    second = await reforge.move(member, two, three)
    await undo_by(reforge, two, second)
    assert await reforge.active(member) == ["B"]
    await undo_by(reforge, one, first)
    assert await reforge.active(member) == ["A"]


async def test_a_first_device_that_is_undone_leaves_none(reforge: World) -> None:
    member = await reforge.member()
    await reforge.move(member, None, Device("first"))
    await undo(reforge, token=token_in(await reforge.mail_with(member, "undo"), "undo"))
    assert await reforge.active(member) == []


async def test_a_move_cannot_be_taken_back_for_ever(reforge: World) -> None:
    old = Device("A")
    member = await reforge.member(old)
    reforge_id = await reforge.move(member, old, Device("B"))
    await reforge.database.execute(
        "UPDATE reforge_requests SET undo_until = now() WHERE id = $1", uuid.UUID(reforge_id)
    )
    with pytest.raises(Expired):
        await undo_by(reforge, old, reforge_id)


async def test_a_confirm_token_does_not_undo_nor_an_undo_token_confirm(reforge: World) -> None:
    member = await reforge.member(Device("A"))
    await reforge.move(member, Device("A"), Device("B"))
    confirm_token = token_in(await reforge.mail_with(member, "confirm"))
    undo_token = token_in(await reforge.mail_with(member, "undo"), "undo")
    with pytest.raises(NotFound):
        await undo(reforge, token=confirm_token)
    with pytest.raises(NotFound):
        await reforge.confirm(undo_token)


async def test_fifty_undos_at_once_are_one(reforge: World) -> None:
    old = Device("A")
    member = await reforge.member(old)
    await reforge.move(member, old, Device("B"))
    token = token_in(await reforge.mail_with(member, "undo"), "undo")
    answers = await asyncio.gather(*(undo(reforge, token=token) for _ in range(50)), return_exceptions=True)
    assert sum(not isinstance(answer, BaseException) for answer in answers) == 1
    assert sum(isinstance(answer, Expired) for answer in answers) == 49
    assert await reforge.active(member) == ["A"]


async def test_an_operators_change_waits_and_the_old_address_can_refuse_it(reforge: World) -> None:
    member = await reforge.member()
    change = await by_operator(reforge, member, "typo@mail.example", delay_h=72)
    assert not change.applied
    token = token_in(await reforge.mail_with(member, "refuse"), "refuse")
    await reforge.call("RefuseReforge", reforge_pb2.RefuseReforgeRequest(token=token))
    with pytest.raises(Expired):
        await reforge.call("RefuseReforge", reforge_pb2.RefuseReforgeRequest(token=token))
    assert await reforge.address_on_file(member) == reforge.address(member)


async def test_an_operators_change_takes_effect_when_its_time_has_come(reforge: World) -> None:
    member = await reforge.member(Device("A"))
    pending = await reforge.init(member, Device("B"), old="A")
    change = await by_operator(reforge, member, "later@mail.example", delay_h=72)
    await reforge.database.execute("UPDATE email_changes SET effective_at = now() WHERE id = $1", change.change_id)
    for _ in range(120):
        if await reforge.address_on_file(member) == "later@mail.example":
            break
        await asyncio.sleep(0.1)
    assert await reforge.address_on_file(member) == "later@mail.example"
    request = reforge_pb2.GetReforgeRequest(reforge_id=pending.reforge_id)
    assert (await reforge.call("GetReforge", request)).status == "SUPERSEDED"
    actions = await reforge.database.fetch(
        "SELECT action, reason FROM audit_log WHERE subject = $1 ORDER BY id", member
    )
    assert [row["action"] for row in actions] == ["email.change_asked", "email.changed"]
    assert actions[0]["reason"] == "asked by phone, passport seen"


async def test_an_operator_gives_a_membership_its_first_address_at_once(reforge: World) -> None:
    member = await reforge.member(email_address=None)
    assert (await by_operator(reforge, member, "first@mail.example", delay_h=72)).applied
    assert await reforge.address_on_file(member) == "first@mail.example"


async def by_operator(world: World, member: str, email: str, *, delay_h: int):  # type: ignore[no-untyped-def]
    settings = PostgresSettings(database_url=world.database_url)
    secret = token_secret(world)
    async with Database.open(settings, "test-operator") as database:
        changes = OperatorEmailChanges(database, TokenKey(secret))
        return await changes.change_by_operator(
            uuid.UUID(member), email, operator="op", reason="asked by phone, passport seen", delay_h=delay_h
        )


def token_secret(world: World) -> bytes:
    """The key that the process made in its state folder."""
    return (world.process.log_path.parent / "state" / "keys" / "reforge_token_key").read_bytes()
