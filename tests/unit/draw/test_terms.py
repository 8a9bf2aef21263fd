"""Terms are refused where the draw could not be fair, and promises are signed by the key that they name."""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from admin.draw_terms import NewDraw, TermsRefused, write_terms
from admin.drops import NewDrop
from services.draw.chains import QUICKNET
from services.draw.signing import DrawSigner, key_name, read_signer
from services.draw.terms import Terms
from services.server.runtime.settings import WrongSetting

NOON = datetime(2027, 1, 1, 12, tzinfo=UTC)
CLOSES = NOON + timedelta(hours=24)
SIGNER = DrawSigner(Ed25519PrivateKey.from_private_bytes(bytes(32)), "vyris.example")
ROUND = QUICKNET.first_round_from(CLOSES + timedelta(seconds=61))


def terms(*, round_: int = ROUND, **changes: Any) -> Terms:
    drop: dict[str, Any] = {"closes_at": CLOSES + timedelta(days=2), "sale": "draw", "hold_ttl_s": 86_400}
    draw: dict[str, Any] = {
        "entries_open": NOON,
        "entries_close": CLOSES,
        "challenge_s": 60,
        "key": SIGNER.verifier_key,
    }
    for name, value in changes.items():
        (draw if name in draw else drop)[name] = value
    new = NewDraw(QUICKNET, round_, draw["entries_open"], draw["entries_close"], draw["challenge_s"], draw["key"])
    return Terms.read(write_terms(NewDrop("genesis", "2027", drop.pop("capacity", 999), **drop), new))


def test_terms_say_all_that_decides() -> None:
    written = terms(limits=("device",))
    assert written.hash == hashlib.sha256(written.text.encode()).digest()
    assert json.dumps(written.members, sort_keys=True, separators=(",", ":")) == written.text
    assert written.members["limits"] == ["device", "user"]
    assert written.members["entries_close"] == "2027-01-02T12:00:00.000Z"
    assert written.key == ("vyris.example", SIGNER.public_key)
    assert written.round_at(ROUND) == QUICKNET.round_at(ROUND)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"closes_at": None}, "--closes-at"),
        ({"environment": "sandbox"}, "sandbox"),
        ({"capacity": 0}, "1 to 1000000 numbers"),
        ({"entries_open": CLOSES}, "open before they close"),
        ({"entries_open": NOON + timedelta(seconds=1)}, "24 hours"),
        ({"challenge_s": 59}, "60 s or more"),
        ({"round_": 0}, "a number from 1"),
        ({"round_": ROUND - 1}, f"the first possible round is {ROUND}"),
        ({"closes_at": CLOSES + timedelta(hours=24)}, "as long as an offer lasts"),
        ({"key": "no key"}, "the key that will sign"),
        ({"entries_open": NOON - timedelta(microseconds=1)}, "whole milliseconds"),
    ],
)
def test_a_draw_that_could_not_be_fair_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(TermsRefused, match=words):
        terms(**changes)


def test_a_promise_is_signed_and_always_the_same() -> None:
    promise = SIGNER.promise("genesis/2027", bytes(32), bytes(range(32)), NOON)
    assert promise == SIGNER.promise("genesis/2027", bytes(32), bytes(range(32)), NOON)
    header, payload, signature = promise.split(".")
    key = Ed25519PublicKey.from_public_bytes(SIGNER.public_key)
    key.verify(decoded(signature), f"{header}.{payload}".encode())
    with pytest.raises(InvalidSignature):
        key.verify(decoded(signature), f"{header}.{payload}x".encode())
    assert json.loads(decoded(header)) == {
        "alg": "EdDSA",
        "kid": SIGNER.verifier_key.split("+")[1],
        "typ": "vyris-promise+jwt",
    }
    assert json.loads(decoded(payload)) == {
        "drop": "genesis/2027",
        "iat": int(NOON.timestamp()),
        "leaf": bytes(range(32)).hex(),
        "terms": "00" * 32,
        "v": "vyris-promise-v1",
    }


def decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def test_a_stack_keeps_its_key_and_production_makes_none(tmp_path: Path) -> None:
    first = read_signer(None, tmp_path, "http://localhost:3000", production=False)
    again = read_signer(None, tmp_path, "https://vyris.example/shop/", production=False)
    assert first is not None
    assert again is not None
    assert (first.public_key, first.name, again.name) == (again.public_key, "localhost:3000", "vyris.example/shop")
    assert first.named("vyris.example/shop").verifier_key == again.verifier_key
    assert read_signer(None, tmp_path, "https://vyris.example", production=True) is None


def test_a_wrong_key_or_name_says_so(tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    file.write_text("no key")
    for path, words in ((file, "openssl genpkey"), (tmp_path / "none.pem", "cannot be read")):
        with pytest.raises(WrongSetting, match=words):
            read_signer(path, tmp_path, "https://vyris.example", production=True)
    for url in ("https://a+b.example", "https://"):
        with pytest.raises(WrongSetting, match="PUBLIC_BASE_URL"):
            key_name(url)
