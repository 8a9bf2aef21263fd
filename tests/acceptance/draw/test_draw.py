"""A draw as callers meet it, over JSON and over gRPC, with two mint processes."""

from __future__ import annotations

import asyncio
import base64
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

from services.draw.maths import read_verifier_key, root_of_proof
from stack.local import Stack
from tests.acceptance.draw.conftest import MakeDraw, vyris
from tests.acceptance.holds.doors import Ask, grpc_door, json_door
from vyris.client import Client, Device, Result

WITHIN_S = 30


async def shown(ask: Ask, drop: dict[str, str], state: str) -> dict[str, Any]:
    """The document, once it says `state`."""
    until_s = time.monotonic() + WITHIN_S
    while time.monotonic() < until_s:
        answer = await ask("GetDraw", **drop)
        if answer.body["state"] == state:
            return answer.body
        await asyncio.sleep(0.1)
    raise AssertionError(answer.body)


def claims_of(promise: str, key: str) -> dict[str, Any]:
    """What a promise says, once its signature is checked (RFC 7515, RFC 8037)."""
    signed, _, signature = promise.rpartition(".")
    _, public = read_verifier_key(key)
    Ed25519PublicKey.from_public_bytes(public).verify(decoded(signature), signed.encode())
    header, payload = (json.loads(decoded(part)) for part in signed.split("."))
    assert (header["alg"], header["typ"]) == ("EdDSA", "vyris-promise+jwt")
    return dict(payload)


def decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


async def test_the_journey_from_entry_to_membership(stack: Stack, ask: Ask, make_draw: MakeDraw) -> None:
    drop = await make_draw(2, 3)
    entered = [await ask("Enter", **drop, user_id=f"u{n}") for n in range(4)]
    assert {answer.status for answer in entered} == {201}
    await check_entering(ask, drop, entered[0].body)
    gone = (await ask("Enter", **drop, user_id="gone")).body["entry"]
    assert (await ask("Withdraw", entry_id=gone["id"], user_id="gone")).body == {"status": "WITHDRAWN"}
    entries = [answer.body["entry"] for answer in entered]
    await check_committed(ask, drop, [entry["leaf_hash"] for entry in entries], gone["leaf_hash"])
    document = await shown(ask, drop, "DRAWN")
    ranked = await check_drawn(ask, drop, document, [entry["id"] for entry in entries])
    users = [f"u{[entry['id'] for entry in entries].index(entry['id'])}" for entry in ranked]
    await check_offers(ask, drop, ranked, users)
    await check_wave(ask, drop, ranked, users)
    with Client(stack.gateway_grpc_target) as client:
        draw = client.get_draw(drop["tier"], drop["year"])
        while draw.document.offered_rank < 3:  # the other process' memory is half a second old
            await asyncio.sleep(0.1)
            draw = client.get_draw(drop["tier"], drop["year"])
        assert [draw.result(client.get_entry(e["id"])) for e in ranked] == [*[Result.OFFERED] * 3, Result.WAITING]
    printed = await asyncio.to_thread(vyris, stack, "draw", "winners", *drop.values(), "--csv")
    assert [line.split(",")[3:5] for line in printed.stdout.splitlines()[1:]] == [
        [users[0], "USED"],
        [users[1], "RELEASED"],
        [users[2], "HELD"],
    ]


async def check_entering(ask: Ask, drop: dict[str, str], body: dict[str, Any]) -> None:
    """What `u0` was answered, and what everybody sees meanwhile."""
    assert set(body) == {"status", "entry", "promise", "replayed"}
    assert set(body["entry"]) == {"id", "salt", "leaf_hash", "entered_at"}
    again = await ask("Enter", **drop, user_id="u0")
    assert again.body == {**body, "replayed": True}
    commitment = base64.b64encode(hashlib.sha256(bytes.fromhex(body["entry"]["salt"]) + b"u0").digest()).decode()
    leaf = f"vyris-entry-v1\n{drop['tier']}/{drop['year']}\n{commitment}\n".encode()
    assert body["entry"]["leaf_hash"] == hashlib.sha256(b"\x00" + leaf).hexdigest()
    document = await shown(ask, drop, "ENTERING")
    terms = json.loads(document["terms"])
    assert hashlib.sha256(document["terms"].encode()).hexdigest() == document["terms_hash"]
    assert (terms["tier"], terms["capacity"], terms["limits"]) == (drop["tier"], 2, ["user"])
    assert terms["round"] == document["beacon"]["round"]
    promised = claims_of(body["promise"], terms["key"])
    assert promised["leaf"] == body["entry"]["leaf_hash"]
    assert promised["terms"] == document["terms_hash"]
    not_yet = await ask("TakeHold", **drop, user_id="u0")
    assert (not_yet.status, not_yet.error, not_yet.body["retryable"]) == (409, "NOT_OFFERED", True)


async def check_committed(ask: Ask, drop: dict[str, str], leaves: list[str], withdrawn: str) -> None:
    """The signed root, and the leaves under it."""
    document = await shown(ask, drop, "COMMITTED")
    assert (document["entries"], document["withdrawn"], document["signature"]) == (4, 1, "")
    text, _, lines = document["checkpoint"].partition("\n\n")
    assert text.split("\n")[1:3] == ["4", base64.b64encode(bytes.fromhex(document["entries_root"])).decode()]
    _, public = read_verifier_key(json.loads(document["terms"])["key"])
    raw = base64.b64decode(lines.split(" ")[2])
    Ed25519PublicKey.from_public_bytes(public).verify(raw[4:], f"{text}\n".encode())
    late = await ask("Enter", **drop, user_id="late")
    assert (late.status, late.error, late.body["retryable"]) == (409, "DROP_NOT_OPEN", False)
    assert (await ask("ListLeaves", **drop, page=0)).body["leaves"] == sorted(leaves)
    assert (await ask("ListWithdrawn", **drop, page=0)).body["leaves"] == [withdrawn]
    assert (await ask("ListLeaves", **drop, page=1)).error == "NOT_FOUND"
    assert (await ask("ListOffers", **drop, page=0)).error == "NOT_FOUND"


async def check_drawn(ask: Ask, drop: dict[str, str], document: dict[str, Any], ids: list[str]) -> list[dict[str, Any]]:
    """Each entry's own answer against the document; the entries by rank."""
    seed = bytes.fromhex(document["seed"])
    entries = [(await ask("GetEntry", entry_id=one)).body["entry"] for one in ids]
    ranked = sorted(entries, key=lambda entry: int(entry["rank"]))
    assert [entry["rank"] for entry in ranked] == [1, 2, 3, 4]
    for entry in ranked:
        hashed = bytes.fromhex(entry["leaf_hash"])
        assert entry["key"] == hmac.new(seed, hashed, hashlib.sha256).hexdigest()
        assert (entry["key"] <= document["cutoff"]) == (entry["rank"] <= 2) == ("offer" in entry)
        proof = [bytes.fromhex(one) for one in entry["proof"]]
        assert root_of_proof(hashed, entry["leaf_index"], 4, proof) == bytes.fromhex(document["entries_root"])
    assert (await ask("ListOffers", **drop, page=0)).body["offers"] == [
        {"rank": e["rank"], "leaf_hash": e["leaf_hash"], "number": e["offer"]["number"], "wave": 1} for e in ranked[:2]
    ]
    return ranked


async def check_offers(ask: Ask, drop: dict[str, str], ranked: list[dict[str, Any]], users: list[str]) -> None:
    """The winner mints his number; who has no offer does not."""
    held = await ask("TakeHold", **drop, user_id=users[0])
    assert (held.status, held.body["replayed"]) == (201, True)
    assert held.body["hold"]["id"] == ranked[0]["offer"]["hold_id"]
    minted = await ask("Mint", receipt_data=f"paid {drop['tier']}", user_id=users[0], **drop)
    assert minted.status == 201
    assert minted.body["membership"]["sequence_num"] == ranked[0]["offer"]["number"]
    without = await ask("Mint", receipt_data=f"hope {drop['tier']}", user_id=users[2], **drop)
    assert (without.status, without.error) == (409, "HOLD_REQUIRED")
    not_offered = await ask("TakeHold", **drop, user_id=users[2])
    assert (not_offered.status, not_offered.error, not_offered.body["retryable"]) == (409, "NOT_OFFERED", True)


async def check_wave(ask: Ask, drop: dict[str, str], ranked: list[dict[str, Any]], users: list[str]) -> None:
    """What comes back goes to the next rank, and to nobody else."""
    given = await ask("ReleaseHold", hold_id=ranked[1]["offer"]["hold_id"], user_id=users[1])
    assert given.status == 200
    until_s = time.monotonic() + WITHIN_S
    while (await ask("TakeHold", **drop, user_id=users[2])).status != 201:
        assert time.monotonic() < until_s
        await asyncio.sleep(0.1)
    document = await shown(ask, drop, "DRAWN")
    while document["offered_rank"] == 2:
        assert time.monotonic() < until_s
        document = await shown(ask, drop, "DRAWN")
    assert (document["offered_rank"], document["cutoff"]) == (3, ranked[2]["key"])
    assert (await ask("ListOffers", **drop, page=0)).body["offers"][2]["wave"] == 2


async def test_what_is_wrong_is_told_in_order(ask: Ask, make_draw: MakeDraw) -> None:
    drop = await make_draw(1, open_after_s=600)
    early = await ask("Enter", **drop, user_id="ada")
    assert (early.status, early.error, early.body["retryable"]) == (409, "DROP_NOT_OPEN", True)
    assert (await ask("GetDraw", **drop)).body["state"] == "ANNOUNCED"
    cases = [
        ("Enter", {**drop, "user_id": ""}, 422, "INVALID_REQUEST"),
        ("Enter", {**drop, "user_id": "ada", "email": "no address"}, 422, "INVALID_REQUEST"),
        ("Enter", {"tier": "nowhere", "year": "2031", "user_id": "ada"}, 404, "NOT_FOUND"),
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


async def test_an_entry_is_its_owners(ask: Ask, make_draw: MakeDraw) -> None:
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
    """The document is one for all: the gateway answers, and Postgres hears of it twice a second at most."""
    drop = await make_draw(1, 5_000)
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
            for _ in range(100):
                answer = await client.get(path)
                assert (answer.headers["etag"], answer.headers["vary"]) == (tag, "accept")

        before, began_s = await database.fetchval(statistics), time.monotonic()
        await asyncio.sleep(1)
        usual, began_s = (await database.fetchval(statistics) - before) / (time.monotonic() - began_s), time.monotonic()
        before = await database.fetchval(statistics)
        await asyncio.gather(*(poll() for _ in range(8)))
        took_s = time.monotonic() - began_s
        # What the processes do anyway, and two looks a second of each.
        assert await database.fetchval(statistics) - before < 100 + (1.5 * float(usual) + 8) * took_s


async def test_a_cancelled_draw_says_so_to_everybody(stack: Stack, make_draw: MakeDraw) -> None:
    drop = await make_draw(1)
    async with json_door(stack.gateway_url) as ask, grpc_door(stack.gateway_grpc_target):
        entry_id = (await ask("Enter", **drop, user_id="ada")).body["entry"]["id"]
        done = await asyncio.to_thread(vyris, stack, "draw", "cancel", *drop.values(), "--reason", "a leaked key")
        assert done.returncode == 0, done.stderr
        document = await shown(ask, drop, "CANCELLED")
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
