"""Requests are checked by the bounds in their protos, and errors keep their words."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from services.draw import servicer as draw
from services.holds import servicer as holds
from services.mint import notifications
from services.mint.mint_request import parse_mint_request
from services.reforge import servicer as reforge
from services.server.runtime.fields import drop_name
from services.server.runtime.request_checks import compile_check
from services.wallet import servicer as wallet
from vyris.draw.v1 import draw_pb2
from vyris.errors import InvalidReceipt, InvalidRequest, VyrisError
from vyris.holds.v1 import holds_pb2
from vyris.mint.v1 import mint_pb2
from vyris.reforge.v1 import reforge_pb2
from vyris.wallet.v1 import wallet_pb2

ID = "must be 1 to 128 printable ASCII characters"
TIER = "tier must be 1 to 32 characters of a-z, 0-9 and -"
YEAR = "year must be 2000 to 2100"
BOTH = "tier and year must be given both, or neither"
NUL = "The request holds a character that is not allowed (U+0000)"
BAD_IDS = ("", " ", " " * 128, "a" * 129, "é", "a\n", "a\x00", "\x7f")
RECEIPT = {"receipt_data": "r", "user_id": "u"}
DROP = {"tier": "genesis", "year": "2025", "user_id": "u"}
MOVE = {"user_id": "u", "new_device_id": "b", "new_public_key": "k"}


def mint(**fields: Any) -> Any:
    return parse_mint_request(mint_pb2.MintRequest(**{**RECEIPT, **fields}))


def take(**fields: Any) -> Any:
    return holds._check_take(holds_pb2.TakeHoldRequest(**{**DROP, **fields}))


def enter(**fields: Any) -> Any:
    return draw._check_enter(draw_pb2.EnterRequest(**{**DROP, **fields}))


def begin(**fields: Any) -> Any:
    return reforge._check_init(reforge_pb2.InitReforgeRequest(**{**MOVE, **fields}))


def refusal(call: Callable[..., Any], **fields: Any) -> VyrisError:
    with pytest.raises(VyrisError) as caught:
        call(**fields)
    return caught.value


@pytest.mark.parametrize(
    ("fields", "kind", "message"),
    [
        ({"receipt_data": ""}, InvalidReceipt, "receipt_data is missing"),
        ({"receipt_data": "\u00a0\t"}, InvalidReceipt, "receipt_data is missing"),
        ({"receipt_data": "a" * 49153}, InvalidReceipt, "receipt_data must be at most 49152 bytes"),
        ({"receipt_data": "é" * 24577}, InvalidReceipt, "receipt_data must be at most 49152 bytes"),
        (
            {"receipt_data": "a\x00"},
            InvalidReceipt,
            "receipt_data holds a character that is not allowed (U+0000)",
        ),
        *(({"user_id": text}, InvalidReceipt, f"user_id {ID}") for text in BAD_IDS),
        (
            {"original_transaction_id": "é" * 513},
            InvalidRequest,
            "original_transaction_id must be at most 1024 bytes",
        ),
        ({"original_transaction_id": "\x00"}, InvalidRequest, NUL),
        ({"email": "ada"}, InvalidRequest, "email must be an e-mail address of at most 254 ASCII characters"),
        ({"tier": "genesis"}, InvalidRequest, BOTH),
        ({"year": "2025"}, InvalidRequest, BOTH),
        ({"tier": "Genesis", "year": "2025"}, InvalidRequest, TIER),
        ({"tier": "genesis\n", "year": "2025"}, InvalidRequest, TIER),
        ({"tier": "x" * 33, "year": "2025"}, InvalidRequest, TIER),
        ({"tier": "genesis", "year": "2101"}, InvalidRequest, YEAR),
        ({"tier": "genesis", "year": "2025\n"}, InvalidRequest, YEAR),
        *(({"device": {"device_id": text}}, InvalidRequest, f"device.device_id {ID}") for text in BAD_IDS),
        (
            {"device": {"device_id": "a", "public_key": "k" * 2049}},
            InvalidRequest,
            "device.public_key: The public key is longer than 2048 characters",
        ),
    ],
)
def test_a_mint_out_of_bounds_is_refused_in_the_known_words(
    fields: dict[str, Any], kind: type[VyrisError], message: str
) -> None:
    error = refusal(mint, **fields)
    assert type(error) is kind
    assert error.message == message


def test_a_mint_at_its_bounds_is_accepted() -> None:
    found = mint(
        receipt_data="é" * 24576,
        user_id=" " * 127 + "~",
        original_transaction_id="a" * 1024,
        email="Ada@example.org",
        tier="x" * 32,
        year="2100",
    )
    assert found.drop == ("x" * 32, "2100")
    assert found.original_transaction_id == "a" * 1024
    assert mint() == ("r", "u", None, None, None, None)


@pytest.mark.parametrize(
    ("call", "fields", "message"),
    [
        (take, {"tier": ""}, TIER),
        (take, {"year": "1999"}, YEAR),
        (take, {"user_id": "é"}, f"user_id {ID}"),
        (take, {"app_transaction": "a" * 49153}, "app_transaction must be at most 49152 bytes"),
        (take, {"device": {"device_id": ""}}, f"device.device_id {ID}"),
        (enter, {"tier": "A"}, TIER),
        (enter, {"user_id": ""}, f"user_id {ID}"),
        (enter, {"app_transaction": "a" * 49153}, "app_transaction must be at most 49152 bytes"),
        (begin, {"user_id": ""}, f"user_id {ID}"),
        (begin, {"new_device_id": "é"}, f"new_device_id {ID}"),
        (begin, {"old_device_id": " "}, f"old_device_id {ID}"),
    ],
)
def test_a_request_out_of_bounds_is_refused_in_the_known_words(
    call: Callable[..., Any], fields: dict[str, Any], message: str
) -> None:
    error = refusal(call, **fields)
    assert type(error) is InvalidRequest
    assert error.message == message


@pytest.mark.parametrize(
    ("check", "request_", "message"),
    [
        (reforge._check_confirm, reforge_pb2.ConfirmReforgeRequest(), "token is required"),
        (
            reforge._check_get,
            reforge_pb2.GetReforgeRequest(),
            "Exactly one of reforge_id and token is required",
        ),
        (
            reforge._check_undo,
            reforge_pb2.UndoReforgeRequest(token="t", membership_id="m"),
            "Exactly one of reforge_id, token and membership_id is required",
        ),
        (
            reforge._check_refuse,
            reforge_pb2.RefuseReforgeRequest(),
            "Exactly one of reforge_id, token and membership_id is required",
        ),
        (reforge._check_change_email, reforge_pb2.ChangeEmailRequest(), f"user_id {ID}"),
        (wallet._check_issue, wallet_pb2.IssuePassRequest(), f"user_id {ID}"),
        (wallet._check_issue_google, wallet_pb2.IssueGooglePassRequest(), f"user_id {ID}"),
        (holds._check_release, holds_pb2.ReleaseHoldRequest(), f"user_id {ID}"),
        (draw._check_withdraw, draw_pb2.WithdrawRequest(), f"user_id {ID}"),
        (notifications._check_app_store, mint_pb2.NotifyAppStoreRequest(), "signedPayload is missing"),
        (
            notifications._check_merchant,
            mint_pb2.NotifyMerchantRequest(signed_payload="a" * 8193),
            "signedPayload must be at most 8192 bytes",
        ),
    ],
)
def test_each_check_has_its_known_words(check: Callable[[Any], None], request_: Any, message: str) -> None:
    assert refusal(check, request=request_).message == message


def test_an_id_that_is_no_uuid_is_left_to_its_lookup() -> None:
    holds._check_release(holds_pb2.ReleaseHoldRequest(hold_id="none", user_id="u"))


def test_a_field_without_words_of_its_own_is_refused_by_its_expression() -> None:
    check = compile_check(reforge_pb2.InitReforgeResponse)
    assert (
        "expires_at must be a text that matches ^20"
        in refusal(check, request=reforge_pb2.InitReforgeResponse()).message
    )


@pytest.mark.parametrize("text", ["a" * 60_000 + "\x00", " " * 60_000, "a" * 60_000])
def test_a_long_text_costs_little(text: str) -> None:
    begun = time.perf_counter()
    assert refusal(mint, user_id=text).message == f"user_id {ID}"
    with pytest.raises(InvalidRequest):
        drop_name(text, "2025")
    with pytest.raises(InvalidReceipt):
        mint(receipt_data=" " * 60_000)
    assert time.perf_counter() - begun < 0.5
