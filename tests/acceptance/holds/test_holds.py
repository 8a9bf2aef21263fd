"""Holds as callers see them, over JSON and over gRPC, with two mint processes."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from uuid import uuid4

import asyncpg
from cryptography.hazmat.primitives.asymmetric import ec

from stack.local import Stack
from tests.acceptance.holds.conftest import MakeDrop
from tests.acceptance.holds.doors import Ask, json_door
from vyris.client.device import Device

NOWHERE = {"tier": "nowhere", "year": "2031"}
NO_KEY = {"device_id": "phone", "public_key": "no key"}


async def wait_for_state(ask: Ask, drop: dict[str, str], state: str) -> dict[str, object]:
    """Poll the drop until it is in `state`, because an answer may be a second old; return that answer."""
    for _ in range(40):
        answer = await ask("GetDrop", **drop)
        if answer.body["state"] == state:
            return answer.body
        await asyncio.sleep(0.1)
    raise AssertionError(answer.body)


async def test_a_hold_becomes_a_membership(ask: Ask, make_drop: MakeDrop) -> None:
    drop = await make_drop(1)
    held = await ask("TakeHold", **drop, user_id="ada")
    assert held.status == 201
    assert set(held.body) == {"status", "hold", "replayed"}
    assert set(held.body["hold"]) == {"id", "tier", "year", "expires_at"}
    assert (held.body["status"], held.body["replayed"]) == ("HELD", False)
    hold_id = held.body["hold"]["id"]
    again = await ask("TakeHold", **drop, user_id="ada")
    assert (again.body["hold"], again.body["replayed"]) == (held.body["hold"], True)

    seen = await wait_for_state(ask, drop, "HELD_OUT")
    assert (seen["sale"], seen["minted"], seen["remaining"], seen["held"], seen["available"]) == ("hold", 0, 1, 1, 0)
    refused = await ask("TakeHold", **drop, user_id="ben")
    assert (refused.status, refused.error, refused.body["retryable"]) == (409, "HELD_OUT", True)
    assert int(refused.retry_after) > 0

    longer = await ask("ExtendHold", hold_id=hold_id, user_id="ada")
    assert longer.status == 200
    assert longer.body["hold"]["expires_at"] > held.body["hold"]["expires_at"]
    once_more = await ask("ExtendHold", hold_id=hold_id, user_id="ada")
    assert (once_more.status, once_more.error) == (409, "LIMIT_REACHED")

    read = await ask("GetHold", hold_id=hold_id)
    assert read.body == {"hold": {**longer.body["hold"], "state": "HELD", "membership_id": ""}}
    minted = await ask("Mint", receipt_data=f"receipt {drop['tier']}", user_id="ada", **drop)
    assert minted.status == 201
    read = await ask("GetHold", hold_id=hold_id)
    assert (read.body["hold"]["state"], read.body["hold"]["membership_id"]) == (
        "USED",
        minted.body["membership"]["id"],
    )
    sold_out = await ask("TakeHold", **drop, user_id="ben")
    assert (sold_out.status, sold_out.error) == (410, "SOLD_OUT")
    share = await ask("TakeHold", **drop, user_id="ada")
    assert (share.status, share.error) == (409, "LIMIT_REACHED")
    ended = await ask("ReleaseHold", hold_id=hold_id, user_id="ada")
    assert (ended.status, ended.error) == (410, "HOLD_EXPIRED")


async def test_a_released_number_is_for_sale_at_once(ask: Ask, make_drop: MakeDrop) -> None:
    drop = await make_drop(1)
    held = await ask("TakeHold", **drop, user_id="ada")
    for _ in range(2):
        released = await ask("ReleaseHold", hold_id=held.body["hold"]["id"], user_id="ada")
        assert (released.status, released.body) == (200, {"status": "RELEASED"})
    assert (await ask("TakeHold", **drop, user_id="ben")).status == 201


async def test_errors_come_in_the_documented_order(ask: Ask, make_drop: MakeDrop) -> None:
    drop = await make_drop(1)
    held = await ask("TakeHold", **drop, user_id="ada")
    hold_id = held.body["hold"]["id"]
    cases = [
        ("TakeHold", {**drop, "user_id": ""}, 422, "INVALID_REQUEST"),
        ("TakeHold", {**NOWHERE, "user_id": "ada"}, 404, "NOT_FOUND"),
        ("TakeHold", {**NOWHERE, "user_id": "ada", "device": NO_KEY}, 422, "INVALID_REQUEST"),
        ("TakeHold", {"tier": "genesis", "year": "2025", "user_id": "ada"}, 404, "NOT_FOUND"),  # sells directly
        ("ReleaseHold", {"hold_id": hold_id, "user_id": "ben"}, 404, "NOT_FOUND"),
        ("ExtendHold", {"hold_id": str(uuid4()), "user_id": "ada"}, 404, "NOT_FOUND"),
        ("GetHold", {"hold_id": "no-uuid"}, 404, "NOT_FOUND"),
    ]
    for rpc, fields, status, error in cases:
        answer = await ask(rpc, **fields)
        assert (answer.status, answer.error) == (status, error), (rpc, fields, answer)
    assert (await ask("GetHold", hold_id=hold_id)).body["hold"]["state"] == "HELD"


async def test_a_device_counts_only_if_its_key_is_proven(ask: Ask, make_drop: MakeDrop) -> None:
    drop = await make_drop(100, limits=("device",))
    device = Device("phone", ec.generate_private_key(ec.SECP256R1()))
    named = {"device_id": "phone", "public_key": device.public_key_pem}
    proven = await asyncio.gather(
        *(ask("TakeHold", device.key, **drop, user_id=f"p{n}", device=named) for n in range(64))
    )
    assert Counter(answer.error for answer in proven) == {"": 1, "LIMIT_REACHED": 63}
    unproven = await asyncio.gather(*(ask("TakeHold", **drop, user_id=f"u{n}", device=named) for n in range(64)))
    assert [answer.status for answer in unproven] == [201] * 64
    stranger = ec.generate_private_key(ec.SECP256R1())
    refused = await ask("TakeHold", stranger, **drop, user_id="mallory", device=named)
    assert (refused.status, refused.error) == (401, "UNAUTHORIZED")


async def test_a_late_payer_mints_with_his_own_retry(
    ask: Ask, make_drop: MakeDrop, database: asyncpg.Connection
) -> None:
    drop = await make_drop(1)
    await ask("TakeHold", **drop, user_id="ada")
    await database.execute(
        "UPDATE holds SET expires_at = now() - interval '1 hour' WHERE state = 'HELD' "
        "AND drop_id = (SELECT id FROM drops WHERE tier = $1)",
        drop["tier"],
    )
    for _ in range(50):  # the stack's own round takes the number back
        ben = await ask("TakeHold", **drop, user_id="ben")
        if ben.status == 201:
            break
        assert ben.error == "HELD_OUT"
        await asyncio.sleep(0.1)
    assert ben.status == 201
    paid = {"receipt_data": f"late {drop['tier']}", "user_id": "ada", **drop}
    late = await ask("Mint", **paid)
    assert (late.status, late.error, late.body["retryable"]) == (410, "HOLD_EXPIRED", False)
    await ask("ReleaseHold", hold_id=ben.body["hold"]["id"], user_id="ben")
    device = Device("phone", ec.generate_private_key(ec.SECP256R1()))
    enrolled = {"device_id": "phone", "public_key": device.public_key_pem}
    minted = await ask("Mint", device.key, **paid, email="ada@example.org", device=enrolled)
    assert minted.status == 201, minted
    row = await database.fetchrow(
        "SELECT email, device_id FROM contacts JOIN devices USING (membership_id) WHERE membership_id = $1",
        minted.body["membership"]["id"],
    )
    assert tuple(row) == ("ada@example.org", "phone")


async def test_a_kill_between_commit_and_answer_leaves_one_hold(
    stack: Stack, make_drop: MakeDrop, database: asyncpg.Connection
) -> None:
    """The processes die under load; a retry gets the hold that Postgres has."""
    drop = await make_drop(200)
    async with json_door(stack.gateway_url) as ask:

        async def insist(user: str) -> str:
            for _ in range(100):
                answer = await ask("TakeHold", **drop, user_id=user)
                if answer.status == 201:
                    return str(answer.body["hold"]["id"])
                assert answer.error == "RETRYABLE", answer
                await asyncio.sleep(0.1)
            raise AssertionError(user)

        taking = [asyncio.create_task(insist(f"user-{n}")) for n in range(200)]
        await asyncio.sleep(0.05)
        for process in ("mint", "mint-2"):
            stack.kill(process, signal.SIGKILL)
        ids = await asyncio.gather(*taking)
        await asyncio.to_thread(stack.wait_ready, ["mint", "mint-2"])
    rows = await database.fetch(
        "SELECT h.id FROM holds h JOIN drops d ON d.id = h.drop_id WHERE tier = $1 AND state = 'HELD'", drop["tier"]
    )
    assert {str(row["id"]) for row in rows} == set(ids)
    assert len(ids) == len(set(ids)) == 200
