"""A draw as callers meet it, over JSON and over gRPC, with two mint processes."""

from __future__ import annotations

import asyncio
import base64
import csv
import hashlib
import hmac
import json
import time
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from services.draw.maths import ranked, read_verifier_key, root_of_proof
from stack.local import Stack
from tests.acceptance.draw.conftest import ENTRANTS, WITHIN_S, EnteredDraw, MakeDraw, vyris, wait_for_state
from tests.acceptance.holds.doors import Ask, grpc_door, json_door
from vyris.client import Device

NOWHERE = {"tier": "nowhere", "year": "2031"}
NO_KEY = {"device_id": "phone", "public_key": "no key"}


def claims_of(promise: str, key: str) -> dict[str, Any]:
    """The claims of a promise whose signature verifies (RFC 7515, RFC 8037)."""
    signed, _, signature = promise.rpartition(".")
    _, public = read_verifier_key(key)
    Ed25519PublicKey.from_public_bytes(public).verify(decoded(signature), signed.encode())
    header, payload = (json.loads(decoded(part)) for part in signed.split("."))
    assert (header["alg"], header["typ"]) == ("EdDSA", "vyris-promise+jwt")
    return dict(payload)


def decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


async def test_an_entry_is_answered_with_a_salt_and_a_signed_promise(ask: Ask, make_draw: MakeDraw) -> None:
    drop = await make_draw(2)
    entered = await ask("Enter", **drop, user_id="ada")
    body = entered.body
    assert (entered.status, set(body)) == (201, {"status", "entry", "promise", "replayed"})
    assert set(body["entry"]) == {"id", "salt", "leaf_hash", "entered_at"}
    again = await ask("Enter", **drop, user_id="ada")
    assert again.body == {**body, "replayed": True}
    commitment = base64.b64encode(hashlib.sha256(bytes.fromhex(body["entry"]["salt"]) + b"ada").digest()).decode()
    leaf = f"vyris-entry-v1\n{drop['tier']}/{drop['year']}\n{commitment}\n".encode()
    assert body["entry"]["leaf_hash"] == hashlib.sha256(b"\x00" + leaf).hexdigest()
    document = (await ask("GetDraw", **drop)).body
    terms = json.loads(document["terms"])
    assert document["state"] == "ENTERING"
    assert hashlib.sha256(document["terms"].encode()).hexdigest() == document["terms_hash"]
    assert (terms["tier"], terms["capacity"], terms["limits"]) == (drop["tier"], 2, ["user"])
    assert terms["round"] == document["beacon"]["round"]
    promised = claims_of(body["promise"], terms["key"])
    assert promised["leaf"] == body["entry"]["leaf_hash"]
    assert promised["terms"] == document["terms_hash"]
    not_yet = await ask("TakeHold", **drop, user_id="ada")
    assert (not_yet.status, not_yet.error, not_yet.body["retryable"]) == (409, "NOT_OFFERED", True)


async def test_after_the_close_the_signed_root_and_its_leaves_are_public(ask: Ask, committed: EnteredDraw) -> None:
    drop = committed.drop
    document = await wait_for_state(ask, drop, "COMMITTED")
    assert (document["entries"], document["withdrawn"], document["signature"]) == (4, 1, "")
    text, _, lines = document["checkpoint"].partition("\n\n")
    assert text.split("\n")[1:3] == ["4", base64.b64encode(bytes.fromhex(document["entries_root"])).decode()]
    _, public = read_verifier_key(json.loads(document["terms"])["key"])
    raw = base64.b64decode(lines.split(" ")[2])
    Ed25519PublicKey.from_public_bytes(public).verify(raw[4:], f"{text}\n".encode())
    late = await ask("Enter", **drop, user_id="late")
    assert (late.status, late.error, late.body["retryable"]) == (409, "DROP_NOT_OPEN", False)
    leaves = sorted(answer["entry"]["leaf_hash"] for answer in committed.answers.values())
    assert (await ask("ListLeaves", **drop, page=0)).body["leaves"] == leaves
    assert (await ask("ListWithdrawn", **drop, page=0)).body["leaves"] == [committed.withdrawn_leaf]
    assert (await ask("ListLeaves", **drop, page=1)).error == "NOT_FOUND"
    assert (await ask("ListOffers", **drop, page=0)).error == "NOT_FOUND"


async def test_each_entry_has_the_result_that_the_document_gives_it(ask: Ask, drawn: EnteredDraw) -> None:
    document = await wait_for_state(ask, drawn.drop, "DRAWN")
    seed, offered = bytes.fromhex(document["seed"]), document["offered_rank"]
    offers = {offer["rank"]: offer for offer in (await ask("ListOffers", **drawn.drop, page=0)).body["offers"]}
    assert sorted(offers) == list(range(1, offered + 1))
    winners = [drawn.user_of(offers[rank]["leaf_hash"]) for rank in range(1, 11)]
    users = dict.fromkeys([*winners, *(f"u{n}" for n in range(50))])
    ids = [drawn.answers[user]["entry"]["id"] for user in users]
    entries = [(await ask("GetEntry", entry_id=one)).body["entry"] for one in ids]
    assert {"offer" in entry for entry in entries} == {True, False}
    for entry in entries:
        hashed = bytes.fromhex(entry["leaf_hash"])
        assert entry["key"] == hmac.new(seed, hashed, hashlib.sha256).hexdigest()
        assert (entry["key"] <= document["cutoff"]) == (entry["rank"] <= offered) == ("offer" in entry)
        proof = [bytes.fromhex(one) for one in entry["proof"]]
        assert root_of_proof(hashed, entry["leaf_index"], ENTRANTS, proof) == bytes.fromhex(document["entries_root"])
        if "offer" in entry:
            own = {name: entry["offer"][name] for name in ("number", "wave")}
            assert offers[entry["rank"]] == {"rank": entry["rank"], "leaf_hash": entry["leaf_hash"], **own}


async def test_an_offer_becomes_a_membership_or_goes_to_the_next_rank(
    stack: Stack, ask: Ask, drawn: EnteredDraw
) -> None:
    drop = drawn.drop
    before = await wait_for_state(ask, drop, "DRAWN")
    offers = (await ask("ListOffers", **drop, page=0)).body["offers"]
    live = [offer for offer in offers if (await state_of_offer(ask, drawn, offer)) == "HELD"]
    await check_mint(ask, drop, live[0], drawn.user_of(live[0]["leaf_hash"]))
    next_user = await find_waiting(ask, drawn, before)
    hope = await ask("Mint", receipt_data=f"hope {next_user}", user_id=next_user, **drop)
    assert (hope.status, hope.error) == (409, "HOLD_REQUIRED")
    not_offered = await ask("TakeHold", **drop, user_id=next_user)
    assert (not_offered.status, not_offered.error, not_offered.body["retryable"]) == (409, "NOT_OFFERED", True)
    giver = drawn.user_of(live[1]["leaf_hash"])
    held = (await ask("TakeHold", **drop, user_id=giver)).body["hold"]
    assert (await ask("ReleaseHold", hold_id=held["id"], user_id=giver)).status == 200
    last = await wait_for_offer(ask, drop, before["offered_rank"] + 1)
    assert (last["leaf_hash"], last["number"]) == (drawn.answers[next_user]["entry"]["leaf_hash"], live[1]["number"])
    assert last["wave"] > 1
    assert (await ask("TakeHold", **drop, user_id=next_user)).status == 201
    printed = await asyncio.to_thread(vyris, stack, "draw", "winners", *drop.values(), "--csv")
    rows = {int(row["rank"]): row for row in csv.DictReader(printed.stdout.splitlines())}
    assert [rows[offer["rank"]]["state"] for offer in (live[0], live[1], last)] == ["USED", "RELEASED", "HELD"]
    assert rows[last["rank"]]["user_id"] == next_user


async def state_of_offer(ask: Ask, drawn: EnteredDraw, offer: dict[str, Any]) -> str:
    entry_id = drawn.answers[drawn.user_of(offer["leaf_hash"])]["entry"]["id"]
    return str((await ask("GetEntry", entry_id=entry_id)).body["entry"]["offer"]["state"])


async def check_mint(ask: Ask, drop: dict[str, str], offer: dict[str, Any], user: str) -> None:
    """The winner takes the offer and mints its number."""
    held = await ask("TakeHold", **drop, user_id=user)
    assert (held.status, held.body["replayed"]) == (201, True)
    minted = await ask("Mint", receipt_data=f"paid {drop['tier']} {user}", user_id=user, **drop)
    assert minted.status == 201
    assert minted.body["membership"]["sequence_num"] == offer["number"]


async def find_waiting(ask: Ask, drawn: EnteredDraw, document: dict[str, Any]) -> str:
    """The user of the first rank without an offer."""
    seed = bytes.fromhex(document["seed"])
    order = ranked(seed, [bytes.fromhex(answer["entry"]["leaf_hash"]) for answer in drawn.answers.values()])
    return drawn.user_of(order[document["offered_rank"]].hex())


async def wait_for_offer(ask: Ask, drop: dict[str, str], rank: int) -> dict[str, Any]:
    """The offer of a rank, once the document counts it: another process' document may be half a second older."""
    until_s = time.monotonic() + WITHIN_S
    while time.monotonic() < until_s:
        document = (await ask("GetDraw", **drop)).body
        if document["offered_rank"] >= rank:
            offers: list[dict[str, Any]] = (await ask("ListOffers", **drop, page=0)).body["offers"]
            assert document["offered_rank"] == rank
            return offers[rank - 1]
        await asyncio.sleep(0.1)
    raise AssertionError(document)


async def test_each_wrong_request_gets_its_error(ask: Ask, make_draw: MakeDraw) -> None:
    drop = await make_draw(1, open_after_s=600)
    early = await ask("Enter", **drop, user_id="ada")
    assert (early.status, early.error, early.body["retryable"]) == (409, "DROP_NOT_OPEN", True)
    assert (await ask("GetDraw", **drop)).body["state"] == "ANNOUNCED"
    cases = [
        ("Enter", {**drop, "user_id": ""}, 422, "INVALID_REQUEST"),
        ("Enter", {**drop, "user_id": "ada", "email": "no address"}, 422, "INVALID_REQUEST"),
        ("Enter", {**NOWHERE, "user_id": "ada"}, 404, "NOT_FOUND"),
        ("Enter", {**NOWHERE, "user_id": "ada", "device": NO_KEY}, 422, "INVALID_REQUEST"),
        ("Enter", {"tier": "genesis", "year": "2025", "user_id": "ada"}, 404, "NOT_FOUND"),  # sells directly
        ("GetDraw", {"tier": "genesis", "year": "2025"}, 404, "NOT_FOUND"),
        ("Withdraw", {"entry_id": str(uuid4()), "user_id": "ada"}, 404, "NOT_FOUND"),
        ("GetEntry", {"entry_id": "no-uuid"}, 404, "NOT_FOUND"),
        ("ListLeaves", {**drop, "page": 0}, 404, "NOT_FOUND"),
        ("ListOffers", {**drop, "page": 5}, 404, "NOT_FOUND"),
    ]
    for rpc, fields, status, error in cases:
        answer = await ask(rpc, **fields)
        assert (answer.status, answer.error) == (status, error), (rpc, fields, answer)


async def test_only_its_owner_withdraws_an_entry(ask: Ask, make_draw: MakeDraw) -> None:
    drop = await make_draw(1)
    entry_id = (await ask("Enter", **drop, user_id="ada")).body["entry"]["id"]
    stranger = await ask("Withdraw", entry_id=entry_id, user_id="eve")
    assert (stranger.status, stranger.error) == (404, "NOT_FOUND")
    assert (await ask("GetEntry", entry_id=entry_id)).body["entry"]["state"] == "ENTERED"


async def test_a_device_counts_where_its_key_is_proven(ask: Ask, make_draw: MakeDraw) -> None:
    drop = await make_draw(9, limits=("device",))
    device = Device("phone", ec.generate_private_key(ec.SECP256R1()))
    named = {"device_id": "phone", "public_key": device.public_key_pem}
    proven = [await ask("Enter", device.key, **drop, user_id=f"p{n}", device=named) for n in range(2)]
    assert [answer.error for answer in proven] == ["", "LIMIT_REACHED"]
    assert (await ask("Enter", **drop, user_id="u", device=named)).status == 201


async def test_polls_do_not_reach_postgres(stack: Stack, make_draw: MakeDraw, database: asyncpg.Connection) -> None:
    """All callers get one document, which a process reads from Postgres at most twice a second."""
    drop = await make_draw(1)
    path = f"/drops/{drop['tier']}/{drop['year']}/draw"
    statistics = "SELECT sum(xact_commit) FROM pg_stat_database WHERE datname = current_database()"
    async with httpx.AsyncClient(base_url=stack.gateway_url, timeout=15) as client:
        first = await client.get(path)
        assert (first.status_code, first.headers["vary"]) == (200, "accept")
        tag = first.headers["etag"]
        assert first.headers["cache-control"] == "public, max-age=1, stale-while-revalidate=5"
        same = await client.get(path, headers={"if-none-match": tag})
        assert (same.status_code, same.content, same.headers["etag"], same.headers["vary"]) == (304, b"", tag, "accept")

        async def poll() -> None:
            for _ in range(40):
                answer = await client.get(path)
                assert (answer.headers["etag"], answer.headers["vary"]) == (tag, "accept")

        before = int(await database.fetchval(statistics))
        await asyncio.sleep(1)
        usual_a_second = int(await database.fetchval(statistics)) - before
        before, began_s = int(await database.fetchval(statistics)), time.monotonic()
        await asyncio.gather(*(poll() for _ in range(8)))
        took_s = time.monotonic() - began_s
        # What the processes do anyway, and two reads a second of each.
        assert int(await database.fetchval(statistics)) - before < 100 + (1.5 * usual_a_second + 8) * took_s


async def test_a_cancelled_draw_refuses_everything_for_good(stack: Stack, make_draw: MakeDraw) -> None:
    drop = await make_draw(1)
    async with json_door(stack.gateway_url) as ask, grpc_door(stack.gateway_grpc_target):
        entry_id = (await ask("Enter", **drop, user_id="ada")).body["entry"]["id"]
        done = await asyncio.to_thread(vyris, stack, "draw", "cancel", *drop.values(), "--reason", "a leaked key")
        assert done.returncode == 0, done.stderr
        document = await wait_for_state(ask, drop, "CANCELLED")
        assert document["cancel_reason"] == "a leaked key"
        refused = await ask("Enter", **drop, user_id="ben")
        assert (refused.status, refused.error) == (409, "DROP_NOT_OPEN")
        never = await ask("TakeHold", **drop, user_id="ada")
        assert (never.error, never.body["retryable"]) == ("NOT_OFFERED", False)
        assert (await ask("GetEntry", entry_id=entry_id)).status == 200
    kept = await asyncio.to_thread(
        vyris, stack, "drop", "resize", *drop.values(), "--capacity", "5", "--reason", "more"
    )
    assert (kept.returncode, "terms of a draw never change" in kept.stderr) == (1, True), kept.stderr


async def test_an_unfair_draw_is_not_announced(stack: Stack) -> None:
    wanted = ("--capacity", "3", "--sale", "draw", "--entries-open", "2027-01-01", "--entries-close", "2027-01-03")
    for words, options in {
        "60 s or more": (*wanted, "--closes-at", "2027-03-01", "--challenge", "5"),
        "add --sale draw": ("--capacity", "3", "--beacon-round", "5"),
    }.items():
        done = await asyncio.to_thread(vyris, stack, "drop", "create", "unfair", "2027", *options)
        assert (done.returncode, words in done.stderr) == (1, True), (words, done.stderr)


async def test_every_page_of_a_draw_has_a_tag(stack: Stack, drawn: EnteredDraw) -> None:
    async with httpx.AsyncClient(base_url=stack.gateway_url, timeout=15) as client:
        for page in ("leaves/0", "withdrawn/0", "offers/0"):
            path = f"/drops/{drawn.drop['tier']}/{drawn.drop['year']}/draw/{page}"
            first = await client.get(path)
            same = await client.get(path, headers={"if-none-match": first.headers.get("etag", "none")})
            assert (first.status_code, same.status_code, same.content) == (200, 304, b""), page
