"""A device that did not make a request can list, refuse and undo by its membership, in the contract's order."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from services.data.storage.database import Database
from services.data.storage.settings import PostgresSettings
from services.reforge.operator_email_changes import OperatorEmailChanges
from services.reforge.tokens import TokenKey
from tests.stand_ins.reforge_service import Device, World, token_in
from vyris.errors import Expired, InvalidRequest, NotFound, Unauthorized
from vyris.reforge.v1 import reforge_pb2


def refusal(member: str) -> Any:
    return reforge_pb2.RefuseReforgeRequest(membership_id=member)


def undo(member: str) -> Any:
    return reforge_pb2.UndoReforgeRequest(membership_id=member)


async def test_a_device_sees_and_refuses_a_request_that_it_did_not_make(reforge: World) -> None:
    owner = Device("A")
    member = await reforge.member(owner)
    begun = await reforge.init(member, Device("evil"), old="A")
    [move] = (await reforge.list_moves(member, owner)).moves
    assert (move.reforge_id, move.status, move.proven) == (begun.reforge_id, "PENDING", False)
    assert (move.old_device_id, move.new_device_id, move.asked_from) == ("A", "evil", "203.0.113.9")
    assert (await reforge.proven("RefuseReforge", refusal(member), owner)).status == "REFUSED"
    with pytest.raises(Expired):
        await reforge.confirm(token_in(await reforge.mail_with(member, "confirm")))
    with pytest.raises(NotFound):
        await reforge.proven("RefuseReforge", refusal(member), owner)


async def test_the_previous_device_sees_and_undoes_a_move_that_it_did_not_ask_for(reforge: World) -> None:
    owner, thief = Device("A"), Device("T")
    member = await reforge.member(owner)
    await reforge.move(member, owner, thief)
    [move] = (await reforge.list_moves(member, owner)).moves
    assert move.status == "CONFIRMED"
    assert move.undo_until > move.decided_at
    answer = await reforge.proven("UndoReforge", undo(member), owner)
    assert (answer.status, answer.membership_id) == ("UNDONE", member)
    assert await reforge.active(member) == ["A"]
    with pytest.raises(Expired):
        await reforge.proven("UndoReforge", undo(member), owner)


async def test_of_several_moves_a_device_takes_back_the_one_away_from_it(reforge: World) -> None:
    owner, thief, accomplice = Device("A"), Device("T"), Device("T2")
    member = await reforge.member(owner)
    await reforge.move(member, owner, thief)
    await reforge.move(member, thief, accomplice)
    await reforge.proven("UndoReforge", undo(member), owner)
    assert await reforge.active(member) == ["A"]


async def test_after_the_undo_time_the_previous_device_sees_and_undoes_nothing(reforge: World) -> None:
    owner, new = Device("A"), Device("B")
    member = await reforge.member(owner)
    await reforge.move(member, owner, new)
    await reforge.hours_pass(member, 24)
    with pytest.raises(Unauthorized):
        await reforge.list_moves(member, owner)
    with pytest.raises(Expired):
        await reforge.proven("UndoReforge", undo(member), owner)
    with pytest.raises(NotFound):
        await reforge.proven("UndoReforge", undo(member), new)
    assert len((await reforge.list_moves(member, new)).moves) == 1


async def test_a_refusal_by_a_device_binds_the_mailbox_for_a_while(reforge: World) -> None:
    """Otherwise a thief of the mailbox asks again at once, and has the membership most of the time."""
    owner = Device("A")
    member = await reforge.member(owner)
    await reforge.move(member, owner, Device("T"))
    await reforge.proven("UndoReforge", undo(member), owner)
    with pytest.raises(Unauthorized, match="needs its proof"):
        await reforge.init(member, Device("T2"), old="A")
    assert (await reforge.init(member, Device("B"), old="A", proven_by=owner)).status == "PENDING"
    await reforge.hours_pass(member, 72)
    assert (await reforge.init(member, Device("C"), old="A")).status == "PENDING"


async def test_a_device_that_changes_its_mind_binds_nobody(reforge: World) -> None:
    owner = Device("A")
    member = await reforge.member(owner)
    await reforge.init(member, Device("B"), old="A", proven_by=owner)
    await reforge.proven("RefuseReforge", refusal(member), owner)
    assert (await reforge.init(member, Device("B"), old="A")).status == "PENDING"


async def test_a_proof_counts_once_and_for_one_membership(reforge: World) -> None:
    owner = Device("A")
    member = await reforge.member(owner)
    request = reforge_pb2.ListMovesRequest(membership_id=member)
    proof = owner.proof("ListMoves", request)
    await reforge.call("ListMoves", request, proof)
    with pytest.raises(Unauthorized, match="used before"):
        await reforge.call("ListMoves", request, proof)
    other = await reforge.member(Device("A"))
    with pytest.raises(Unauthorized):
        await reforge.list_moves(other, owner)
    for nonsense in ("nonsense", "a.b.c", owner.proof("RefuseReforge", refusal(member))):
        with pytest.raises(Unauthorized):
            await reforge.call("ListMoves", request, nonsense)


async def test_a_call_names_one_thing(reforge: World) -> None:
    for message in (reforge_pb2.RefuseReforgeRequest, reforge_pb2.UndoReforgeRequest):
        method = message.DESCRIPTOR.name.removesuffix("Request")
        for names in ({}, {"token": "t", "membership_id": "m"}, {"reforge_id": "r", "membership_id": "m"}):
            with pytest.raises(InvalidRequest):
                await reforge.call(method, message(**names))


# Order of checks (the contract): shape 422, membership 404, owner and revocation 401, proof 401, what belongs to it
# 404, state 409 or 410. In each call everything is wrong from one step on.


def calls(member: str, user: str = "ada") -> dict[str, Any]:
    new = Device("B")
    return {
        "InitReforge": reforge_pb2.InitReforgeRequest(
            membership_id=member, user_id=user, new_device_id="B", new_public_key=new.pem, old_device_id="unknown"
        ),
        "ChangeEmail": reforge_pb2.ChangeEmailRequest(membership_id=member, user_id=user, email="n@mail.example"),
        "RefuseReforge": refusal(member),
        "UndoReforge": undo(member),
        "RefuseEmailChange": reforge_pb2.RefuseEmailChangeRequest(membership_id=member),
        "ListMoves": reforge_pb2.ListMovesRequest(membership_id=member),
    }


METHODS = sorted(calls(""))


@pytest.mark.parametrize("method", METHODS)
async def test_an_unknown_membership_comes_before_the_proof(reforge: World, method: str) -> None:
    for unknown in (str(uuid.uuid4()), "nonsense"):
        with pytest.raises(NotFound):
            await reforge.proven(method, calls(unknown, "eve")[method], Device("x"))


@pytest.mark.parametrize("method", METHODS)
async def test_a_revoked_membership_comes_before_the_proof_and_what_belongs_to_it(reforge: World, method: str) -> None:
    member = await reforge.member(Device("A"))
    await reforge.database.execute("UPDATE memberships SET revoked_at = now() WHERE id = $1", uuid.UUID(member))
    with pytest.raises(Unauthorized, match="revoked"):
        await reforge.proven(method, calls(member)[method], Device("x"))


@pytest.mark.parametrize("method", ["ChangeEmail", "InitReforge"])
async def test_another_user_comes_before_the_proof_and_what_belongs_to_it(reforge: World, method: str) -> None:
    """So nobody finds a device's name by guessing."""
    member = await reforge.member(Device("A"))
    for device in (Device("x"), None):
        with pytest.raises(Unauthorized, match="another user"):
            await reforge.proven(method, calls(member, "eve")[method], device)


@pytest.mark.parametrize("method", METHODS)
async def test_a_bad_proof_comes_before_what_belongs_to_the_membership(reforge: World, method: str) -> None:
    member = await reforge.member(Device("A"))
    with pytest.raises(Unauthorized, match="proof"):
        await reforge.proven(method, calls(member)[method], Device("x"))


@pytest.mark.parametrize("method", ["InitReforge", "RefuseEmailChange", "RefuseReforge", "UndoReforge"])
async def test_with_a_good_proof_a_missing_request_is_not_found(reforge: World, method: str) -> None:
    owner = Device("A")
    member = await reforge.member(owner)
    with pytest.raises(NotFound):
        await reforge.proven(method, calls(member)[method], owner)


async def operators_change(world: World, member: str, email: str, *, delay_h: int = 72, operator: str = "op") -> None:
    secret = (world.process.log_path.parent / "state" / "keys" / "reforge_token_key").read_bytes()
    async with Database.open(PostgresSettings(database_url=world.database_url), "test-operator") as database:
        changes = OperatorEmailChanges(database, TokenKey(secret))
        await changes.change_by_operator(uuid.UUID(member), email, operator=operator, reason="case 1", delay_h=delay_h)


async def test_mailbox_and_operator_together_overrule_the_device_for_a_while(reforge: World) -> None:
    stolen, ours = Device("A"), Device("B")
    member, recovered = await reforge.member(stolen), f"recovered-{uuid.uuid4().hex[:8]}@mail.example"
    await operators_change(reforge, member, recovered)
    assert (await reforge.init(member, ours, old="A", proven_by=stolen)).status == "PENDING", "not before it applies"
    await reforge.hours_pass(member, 72)
    assert await reforge.address_on_file(member) == recovered
    begun = await reforge.init(member, ours, old="A")
    for method, request in calls(member).items():
        if method not in ("ListMoves", "RefuseEmailChange", "UndoReforge"):
            with pytest.raises(Unauthorized, match="Support"):
                await reforge.proven(method, request, stolen)
    await reforge.confirm(token_in(await reforge.mail_to(recovered, "confirm")))
    for names in ({"membership_id": member}, {"reforge_id": begun.reforge_id}):
        with pytest.raises(Unauthorized, match="Support"):
            await reforge.proven("UndoReforge", reforge_pb2.UndoReforgeRequest(**names), stolen)
    assert await reforge.active(member) == ["B"]
    # The device that the mailbox has chosen since has the same rights as any other.
    assert (await reforge.change_email(member, "next@mail.example", ours)).status == "PENDING"


async def test_after_the_override_the_device_decides_again(reforge: World) -> None:
    device = Device("A")
    member = await reforge.member(device)
    await operators_change(reforge, member, f"recovered-{uuid.uuid4().hex[:8]}@mail.example")
    await reforge.hours_pass(member, 72)
    with pytest.raises(Unauthorized, match="Support"):
        await reforge.change_email(member, "next@mail.example", device)
    await reforge.hours_pass(member, 72)
    assert (await reforge.change_email(member, "next@mail.example", device)).status == "PENDING"


async def test_a_refusal_by_a_device_does_not_bind_a_mailbox_that_an_operator_set_later(reforge: World) -> None:
    stolen = Device("A")
    member = await reforge.member(stolen)
    await operators_change(reforge, member, f"recovered-{uuid.uuid4().hex[:8]}@mail.example")
    await reforge.hours_pass(member, 71)
    await reforge.init(member, Device("B"), old="A")
    await reforge.proven("RefuseReforge", refusal(member), stolen)
    with pytest.raises(Unauthorized, match="needs its proof"):
        await reforge.init(member, Device("B"), old="A")
    await reforge.hours_pass(member, 1)
    assert (await reforge.init(member, Device("B"), old="A")).status == "PENDING"


async def test_an_operator_alone_overrules_nobody(reforge: World) -> None:
    """If no mailbox had time to refuse, the device can still refuse."""
    for address, delay_h in ((None, 72), ("auto", 0)):
        device, thief = Device("A"), Device("T")
        member = await reforge.member(device, email_address=address)
        deceived = f"deceived-{uuid.uuid4().hex[:8]}@mail.example"
        await operators_change(reforge, member, deceived, delay_h=delay_h)
        assert await reforge.address_on_file(member) == deceived
        await reforge.init(member, thief, old="A")
        await reforge.confirm(token_in(await reforge.mail_to(deceived, "confirm")))
        await reforge.proven("UndoReforge", undo(member), device)
        assert await reforge.active(member) == ["A"]


async def test_an_operator_who_is_called_device_is_an_operator(reforge: World) -> None:
    device = Device("A")
    member = await reforge.member(device)
    await operators_change(reforge, member, "next@mail.example", operator="device")
    [change] = (await reforge.list_moves(member, device)).email_changes
    assert change.asked_by == "OPERATOR"
