"""POST /mint and GET /drops as in the contract, over JSON and native gRPC."""

from __future__ import annotations

import asyncio
import resource
import uuid
from contextlib import AbstractAsyncContextManager
from typing import Any

import asyncpg
import grpc
import httpx
import pytest

from stack.local import Stack
from tests.acceptance.mint.buyers import Send, json_sender
from tests.acceptance.mint.conftest import MakeDrop
from tests.signers.mint import proof_headers
from vyris.client import Device
from vyris.error_wire import from_rpc_error
from vyris.errors import InvalidRequest
from vyris.mint.v1 import mint_pb2, mint_pb2_grpc

P256_PEM = """-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaxfR8uEsQkf4vOblY6RA8ncDfYEt
6zOg9KE5RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9Q==
-----END PUBLIC KEY-----
"""


def receipt() -> str:
    return f"receipt-{uuid.uuid4()}"


async def test_a_mint_has_exactly_the_documented_fields(stack: Stack) -> None:
    async with httpx.AsyncClient(base_url=stack.gateway_url) as client:
        response = await client.post("/mint", json={"receipt_data": receipt(), "user_id": "ada"})
    assert response.status_code == 201
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert set(body) == {"status", "membership", "replayed"}
    assert (body["status"], body["replayed"]) == ("FULFILLED", False)
    assert set(body["membership"]) == {"id", "tier", "year", "sequence_num", "pass_serial"}
    assert (body["membership"]["tier"], body["membership"]["year"]) == ("genesis", "2025")
    assert isinstance(body["membership"]["sequence_num"], int)
    uuid.UUID(body["membership"]["id"])


INVALID: list[tuple[dict[str, Any], int, str]] = [
    ({}, 422, "INVALID_RECEIPT"),
    ({"user_id": "u"}, 422, "INVALID_RECEIPT"),
    ({"receipt_data": "r"}, 422, "INVALID_RECEIPT"),
    ({"receipt_data": "", "user_id": "u"}, 422, "INVALID_RECEIPT"),
    ({"receipt_data": " \n\t ", "user_id": "u"}, 422, "INVALID_RECEIPT"),
    ({"receipt_data": "x" * 49_153, "user_id": "u"}, 422, "INVALID_RECEIPT"),
    ({"receipt_data": "é" * 24_577, "user_id": "u"}, 422, "INVALID_RECEIPT"),
    ({"receipt_data": "a\x00b", "user_id": "u"}, 422, "INVALID_RECEIPT"),
    ({"receipt_data": "r", "user_id": "  "}, 422, "INVALID_RECEIPT"),
    ({"receipt_data": "r", "user_id": "u" * 129}, 422, "INVALID_RECEIPT"),
    ({"receipt_data": "r", "user_id": "é"}, 422, "INVALID_RECEIPT"),
    ({"receipt_data": "r", "user_id": "a\x00"}, 422, "INVALID_RECEIPT"),
    ({"receipt_data": "r", "user_id": "u", "tier": "genesis"}, 422, "INVALID_REQUEST"),
    ({"receipt_data": "r", "user_id": "u", "year": "2025"}, 422, "INVALID_REQUEST"),
    ({"receipt_data": "r", "user_id": "u", "tier": "Genesis", "year": "2025"}, 422, "INVALID_REQUEST"),
    ({"receipt_data": "r", "user_id": "u", "tier": "x" * 33, "year": "2025"}, 422, "INVALID_REQUEST"),
    ({"receipt_data": "r", "user_id": "u", "tier": "genesis", "year": "1999"}, 422, "INVALID_REQUEST"),
    ({"receipt_data": "r", "user_id": "u", "tier": "genesis", "year": "2101"}, 422, "INVALID_REQUEST"),
    ({"receipt_data": "r", "user_id": "u", "tier": "nowhere", "year": "2025"}, 404, "NOT_FOUND"),
    ({"receipt_data": "r", "user_id": "u", "email": "nobody"}, 422, "INVALID_REQUEST"),
    ({"receipt_data": "r", "user_id": "u", "email": "a\x00@example.org"}, 422, "INVALID_REQUEST"),
    ({"receipt_data": "r", "user_id": "u", "original_transaction_id": "1" * 1_025}, 422, "INVALID_REQUEST"),
    ({"receipt_data": "r", "user_id": "u", "original_transaction_id": "1\x00"}, 422, "INVALID_REQUEST"),
    ({"receipt_data": "r", "user_id": "u", "device": {}}, 422, "INVALID_REQUEST"),
    ({"receipt_data": "r", "user_id": "u", "device": {"device_id": "d", "public_key": "x"}}, 422, "INVALID_REQUEST"),
    (
        {"receipt_data": "r", "user_id": "u", "device": {"device_id": "", "public_key": P256_PEM}},
        422,
        "INVALID_REQUEST",
    ),
    # A signed receipt is never taken for an opaque one.
    ({"receipt_data": "eyJhbGciOiJub25lIn0.e30.", "user_id": "u"}, 422, "INVALID_RECEIPT"),
]


@pytest.mark.parametrize(("request_fields", "status", "error"), INVALID)
async def test_bad_input_gets_its_error(
    sender: AbstractAsyncContextManager[Send], request_fields: dict[str, Any], status: int, error: str
) -> None:
    async with sender as send:
        answer = await send(request_fields)
    assert (answer.status, answer.error) == (status, error)
    assert answer.body["retryable"] is False


async def test_another_users_receipt_reveals_nothing_about_the_membership(
    sender: AbstractAsyncContextManager[Send],
) -> None:
    text = receipt()
    async with sender as send:
        assert (await send({"receipt_data": text, "user_id": "ada"})).status == 201
        answer = await send({"receipt_data": text, "user_id": "eve"})
    assert (answer.status, answer.error) == (409, "RECEIPT_USED")
    assert "membership" not in answer.body


@pytest.mark.parametrize("owner_share", [64, 32])
async def test_64_copies_at_once_get_one_membership(
    sender: AbstractAsyncContextManager[Send], database: asyncpg.Connection, owner_share: int
) -> None:
    text = receipt()
    async with sender as send:
        answers = await asyncio.gather(
            *(send({"receipt_data": text, "user_id": "ada" if n < owner_share else "eve"}) for n in range(64))
        )
    sold = [answer for answer in answers if answer.status == 201]
    assert len({answer.membership["id"] for answer in sold}) == 1
    assert len(sold) in {owner_share, 64 - owner_share} - {0}
    assert all(answer.error == "RECEIPT_USED" for answer in answers if answer.status != 201)
    owner = await database.fetchval(
        "SELECT user_id FROM memberships WHERE id = $1", uuid.UUID(sold[0].membership["id"])
    )
    assert len(sold) == (owner_share if owner == "ada" else 64 - owner_share)


async def test_a_thousand_copies_at_once_through_the_gateway_are_all_answered(stack: Stack) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4_096, hard), hard) if soft < 4_096 else (soft, hard))
    text = receipt()
    async with json_sender(stack.gateway_url) as send:
        answers = await asyncio.gather(*(send({"receipt_data": text, "user_id": "ada"}) for _ in range(1_000)))
    assert {answer.status for answer in answers} == {201}
    assert len({answer.membership["id"] for answer in answers}) == 1


async def test_a_device_and_an_address_are_taken_with_the_mint(stack: Stack, database: asyncpg.Connection) -> None:
    async with httpx.AsyncClient(base_url=stack.gateway_url) as client:
        phone = Device.generate("phone")
        body = {
            "receipt_data": receipt(),
            "user_id": "ada",
            "email": "ada@example.org",
            "device": {"device_id": "phone", "public_key": phone.public_key_pem},
        }
        response = await client.post("/mint", json=body, headers=proof_headers(body, phone.key))
    membership_id = uuid.UUID(response.json()["membership"]["id"])
    assert await database.fetchval("SELECT device_id FROM devices WHERE membership_id = $1", membership_id) == "phone"
    email = await database.fetchval("SELECT email FROM contacts WHERE membership_id = $1", membership_id)
    assert email == "ada@example.org"


async def test_a_drop_is_shown_as_documented(stack: Stack, make_drop: MakeDrop) -> None:
    drop = await make_drop(3)
    async with httpx.AsyncClient(base_url=stack.gateway_url) as client:
        response = await client.get(f"/drops/{drop['tier']}/{drop['year']}")
        assert response.status_code == 200
        assert response.json() == {
            **drop,
            "capacity": 3,
            "minted": 0,
            "remaining": 3,
            "state": "OPEN",
            "opens_at": "",
            "closes_at": "",
            "sale": "direct",
            "held": 0,
            "available": 3,
        }
        for path, status, error in (
            ("/drops/nowhere/2025", 404, "NOT_FOUND"),
            ("/drops/genesis/99", 422, "INVALID_REQUEST"),
            ("/drops/genesis", 404, "NOT_FOUND"),
        ):
            refused = await client.get(path)
            assert (refused.status_code, refused.json()["error"]) == (status, error)


async def test_a_watched_drop_is_sent_at_once_and_after_each_change(stack: Stack, make_drop: MakeDrop) -> None:
    drop = await make_drop(2)
    async with grpc.aio.insecure_channel(stack.gateway_grpc_target) as channel:
        stub = mint_pb2_grpc.MintServiceStub(channel)
        watching = stub.WatchDrop(mint_pb2.WatchDropRequest(**drop), timeout=20)
        assert (await watching.read()).drop.remaining == 2
        await stub.Mint(mint_pb2.MintRequest(receipt_data=receipt(), user_id="ada", **drop))
        assert (await watching.read()).drop.remaining == 1
        watching.cancel()


async def test_text_that_is_not_utf8_is_invalid_and_reveals_no_parser_error(stack: Stack) -> None:
    async with httpx.AsyncClient(base_url=stack.gateway_url) as client:
        refused = await client.get("/drops/%ff/2025")
    assert (refused.status_code, refused.json()["error"]) == (422, "INVALID_REQUEST")
    async with grpc.aio.insecure_channel(stack.gateway_grpc_target) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await channel.unary_unary("/vyris.mint.v1.MintService/Mint", request_serializer=bytes)(b"\x0a\x01\xff")
    error = from_rpc_error(
        failure.value.code(), failure.value.details() or "", tuple(failure.value.trailing_metadata() or ())
    )
    assert isinstance(error, InvalidRequest)
    assert error.message == InvalidRequest.default_message


async def test_a_native_call_is_bounded_like_a_body(stack: Stack) -> None:
    """Even if most of it is an unknown field."""
    unknown_field = b"\xba\x3e" + varint(65_536) + bytes(65_536)  # number 999, length-delimited
    request = mint_pb2.MintRequest(receipt_data="r", user_id="u").SerializeToString() + unknown_field
    async with grpc.aio.insecure_channel(stack.gateway_grpc_target) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await channel.unary_unary("/vyris.mint.v1.MintService/Mint", request_serializer=bytes)(request)
    error = from_rpc_error(
        failure.value.code(), failure.value.details() or "", tuple(failure.value.trailing_metadata() or ())
    )
    assert isinstance(error, InvalidRequest)
    assert error.message == "The request is larger than 64 KiB"


def varint(number: int) -> bytes:
    """Protobuf's variable-length integer."""
    groups = []
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*groups, number])


@pytest.mark.parametrize("store", ["app-store", "merchant"])
async def test_notifications_of_a_kind_that_is_not_accepted_prove_nothing(stack: Stack, store: str) -> None:
    async with httpx.AsyncClient(base_url=stack.gateway_url) as client:
        refused = await client.post(f"/notifications/{store}", json={"signedPayload": "eyJhbGciOiJFUzI1NiJ9.e30.AAAA"})
    assert (refused.status_code, refused.json()["error"]) == (401, "UNAUTHORIZED")


async def test_a_malformed_health_request_is_not_answered_as_unhealthy(stack: Stack) -> None:
    async with httpx.AsyncClient(base_url=stack.gateway_url) as client:
        refused = await client.request("GET", "/health", content=b"{", headers={"content-type": "application/json"})
    assert refused.status_code != 503
    assert "unhealthy" not in refused.text


async def test_u_0000_is_refused_in_a_phones_log_too(stack: Stack) -> None:
    async with httpx.AsyncClient(base_url=stack.gateway_url) as client:
        refused = await client.post("/v1/log", json={"logs": ["a line", "a\x00b"]})
    assert (refused.status_code, refused.json()["error"]) == (422, "INVALID_REQUEST")
