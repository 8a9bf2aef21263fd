"""Which users get which pass."""

from __future__ import annotations

import asyncio
import shutil
from uuid import uuid4

import pytest

from services.wallet.inspection import judge_signature
from services.wallet.settings import WalletSettings
from tests.integration.wallet.conftest import World, running_wallet
from tests.integration.wallet.wallet_client import Reply, WalletClient
from vyris.device_proof import build_proof, grpc_target, http_target
from vyris.wallet.v1 import wallet_pb2

METHOD = wallet_pb2.DESCRIPTOR.services_by_name["WalletService"].methods_by_name["IssuePass"]


def read_refusal(reply: Reply) -> tuple[int, str]:
    assert reply.error is not None, reply
    return reply.status, reply.error.reason


async def test_the_owner_gets_a_signed_pass_with_the_serial_of_the_mint(
    wallet: WalletClient, world: World, settings: WalletSettings
) -> None:
    membership = await world.mint()
    reply = await wallet.issue(membership.id, "user-1")
    assert reply.status == 200
    assert reply.headers["content-disposition"] == 'attachment; filename="vyris-genesis-1.pkpass"'
    document = reply.opened.document
    assert document["serialNumber"] == str(membership.pass_serial)
    assert document["storeCard"]["primaryFields"][0]["value"] == "1"
    assert document["webServiceURL"] == "https://vyris.example/"
    assert reply.opened.problems() == []
    if shutil.which("openssl"):
        assert judge_signature(reply.opened, settings.vyris_state_dir / "keys" / "pass_root.pem").holds


async def test_the_code_is_a_random_public_id_and_stays_the_same(wallet: WalletClient, world: World) -> None:
    membership, other = await world.mint(), await world.mint()
    codes = [
        (await wallet.issue(m.id, "user-1")).opened.document["barcodes"][0]["message"]
        for m in (membership, membership, other)
    ]
    assert codes[0] == codes[1] != codes[2]
    assert str(membership.id) not in codes[0]
    assert len(codes[0]) == 22


async def test_an_unknown_membership_is_404_in_any_form(wallet: WalletClient) -> None:
    for unknown in (uuid4(), "", "no uuid", "../../etc/passwd"):
        assert read_refusal(await wallet.issue(unknown, "user-1")) == (404, "NOT_FOUND")


async def test_a_malformed_user_is_422_before_any_lookup(wallet: WalletClient, world: World) -> None:
    membership = await world.mint()
    for user in ("", "   ", "a" * 129, "ü", "a\x00b"):
        for membership_id in (membership.id, uuid4()):
            assert read_refusal(await wallet.issue(membership_id, user)) == (422, "INVALID_REQUEST")


async def test_another_users_membership_is_401(wallet: WalletClient, world: World) -> None:
    membership = await world.mint()
    for user in ("user-2", "USER-1", "user-1 "):
        assert read_refusal(await wallet.issue(membership.id, user)) == (401, "UNAUTHORIZED")


async def test_a_revoked_membership_is_401_and_a_restored_one_is_not(wallet: WalletClient, world: World) -> None:
    membership = await world.mint()
    assert (await wallet.issue(membership.id, "user-1")).status == 200
    await world.revoke(membership)
    assert read_refusal(await wallet.issue(membership.id, "user-1")) == (401, "UNAUTHORIZED")
    await world.restore(membership)
    assert (await wallet.issue(membership.id, "user-1")).status == 200


async def test_an_enrolled_device_must_prove_itself_and_each_proof_counts_once(
    wallet: WalletClient, world: World
) -> None:
    membership = await world.mint()
    key = await world.enrol(membership)
    request = wallet_pb2.IssuePassRequest(membership_id=str(membership.id), user_id="user-1")
    assert read_refusal(await wallet.issue(membership.id, "user-1")) == (401, "UNAUTHORIZED")
    for target in (grpc_target(METHOD), http_target("https://vyris.example", METHOD, request)):
        assert target is not None
        proof = build_proof(key, request, target)
        assert (await wallet.issue(membership.id, "user-1", proof)).status == 200
        assert read_refusal(await wallet.issue(membership.id, "user-1", proof)) == (401, "UNAUTHORIZED")


async def test_a_proof_by_another_key_or_for_another_request_is_401(wallet: WalletClient, world: World) -> None:
    membership, other = await world.mint(), await world.mint()
    key, stranger = await world.enrol(membership), await world.enrol(other)
    right = wallet_pb2.IssuePassRequest(membership_id=str(membership.id), user_id="user-1")
    wrong = wallet_pb2.IssuePassRequest(membership_id=str(other.id), user_id="user-1")
    for proof in (build_proof(stranger, right, grpc_target(METHOD)), build_proof(key, wrong, grpc_target(METHOD))):
        assert read_refusal(await wallet.issue(membership.id, "user-1", proof)) == (401, "UNAUTHORIZED")


async def test_a_hundred_at_once_get_one_and_the_same_pass(wallet: WalletClient, world: World) -> None:
    membership = await world.mint()
    replies = await asyncio.gather(*(wallet.issue(membership.id, "user-1") for _ in range(100)))
    assert {reply.status for reply in replies} == {200}
    assert len({reply.opened.files["pass.json"] for reply in replies}) == 1
    assert await world.connection.fetchval("SELECT count(*) FROM passes") == 1


async def test_after_a_move_the_next_pass_has_a_new_serial_token_and_code(wallet: WalletClient, world: World) -> None:
    membership = await world.mint()
    before = (await wallet.issue(membership.id, "user-1")).opened.document
    await world.move(membership)
    after = (await wallet.issue(membership.id, "user-1")).opened.document
    again = (await wallet.issue(membership.id, "user-1")).opened.document
    for changed in ("serialNumber", "authenticationToken", "barcodes"):
        assert before[changed] != after[changed]
    assert after == again
    assert "voided" not in after


@pytest.mark.parametrize("tier", ["late-summer", "a", "x" * 32])
async def test_every_tier_has_a_pass(wallet: WalletClient, world: World, tier: str) -> None:
    membership = await world.mint(tier=tier)
    reply = await wallet.issue(membership.id, "user-1")
    assert reply.headers["content-disposition"] == f'attachment; filename="vyris-{tier}-1.pkpass"'
    assert reply.opened.problems() == []


async def test_without_postgres_the_answer_is_to_try_again(settings: WalletSettings) -> None:
    away = settings.model_copy(update={"database_url": "postgresql://vyris@127.0.0.1:1/nothing"})
    async with running_wallet(away) as wallet:
        reply = await wallet.issue(uuid4(), "user-1")
    assert read_refusal(reply) == (500, "RETRYABLE")
    assert reply.error is not None
    assert reply.error.retryable
