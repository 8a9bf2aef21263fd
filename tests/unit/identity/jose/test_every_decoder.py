"""One table of spellings for every decoder of signed tokens: each accepts what the standard allows."""

from __future__ import annotations

import base64
import json
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from services.encounter.encounter_token import ENCOUNTER_TYP, TimeLimits, prove, read_encounter
from services.encounter.page_token import Position, decode, encode
from services.identity.device_proof import verify_proof
from services.identity.jose import TokenRefused, public_key_from_jwk
from services.identity.jwks import PublishedKeys, p256_key
from services.identity.user_tokens import UserTokens
from services.identity.user_tokens.issuer_keys import issuer_key
from services.mint.receipts.merchant import MerchantVerifier
from services.mint.receipts.merchant_signatures import RECEIPT_TYP, REFUND_TYP, MerchantSignatures
from services.mint.receipts.verified import ReceiptClaim
from services.mint.refunds.merchant import MerchantNotices
from tests.signers.encounter import compact
from vyris.device_keys import public_jwk
from vyris.device_proof import PROOF_TYP, Target, request_digest
from vyris.errors import InvalidRequest, VyrisError
from vyris.mint.v1.mint_pb2 import MintRequest

KEY = ec.generate_private_key(ec.SECP256R1())
JWK: dict[str, Any] = public_jwk(KEY.public_key())
PUBLIC = public_key_from_jwk(JWK)
NOW_S = int(time.time())
ISSUER = "https://id.test"
TARGET = Target("POST", "https://club.example/mint")
REQUEST = MintRequest(receipt_data="r", user_id="ada")
ONE, TWO = str(uuid.uuid4()), str(uuid.uuid4())


@dataclass(frozen=True)
class Decoder:
    """A genuine header, genuine claims, and their decoder, which raises for a token that it refuses."""

    header: dict[str, Any]
    claims: dict[str, Any]
    read: Callable[[str], Awaitable[object]]


@pytest.fixture
def jwks(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("keys") / "jwks.json"
    file.write_text(json.dumps({"keys": [JWK | {"kid": "k"}]}))
    return str(file)


@pytest.fixture
def decoder(request: pytest.FixtureRequest, jwks: str) -> Decoder:
    return _decoders(jwks)[request.param]


def _decoders(jwks: str, *, own_typ_required: bool = False) -> dict[str, Decoder]:
    signatures = MerchantSignatures(
        PublishedKeys(jwks, "the merchant", p256_key), ISSUER, "vyris", own_typ_required=own_typ_required
    )
    users = UserTokens(PublishedKeys(jwks, "the identity provider", issuer_key), ISSUER, "vyris")

    async def encounter(text: str) -> object:
        limits = TimeLimits(max_age_s=300, max_lifetime_s=3_600)
        return prove(*read_encounter(text, limits, own_typ_required=own_typ_required), [PUBLIC])

    async def proof(text: str) -> object:
        return verify_proof(text, thumbprint=PUBLIC.thumbprint, targets=[TARGET], request=REQUEST)

    async def user(text: str) -> object:
        return await users.subject([f"Bearer {text}"])

    async def receipt(text: str) -> object:
        return await MerchantVerifier(signatures).verify(ReceiptClaim(text, "ada", None))

    async def refund(text: str) -> object:
        return await MerchantNotices(signatures).read(text)

    named = {"alg": "ES256", "kid": "k"}
    return {
        "encounter": Decoder(
            named | {"typ": ENCOUNTER_TYP}, {"jti": "j", "sub": ONE, "aud": TWO, "iat": NOW_S}, encounter
        ),
        "proof": Decoder(
            named | {"typ": PROOF_TYP, "jwk": JWK},
            {"jti": "j", "htm": "POST", "htu": TARGET.htu, "iat": NOW_S, "req": request_digest(REQUEST)},
            proof,
        ),
        "user": Decoder(
            named | {"typ": "at+jwt"}, {"iss": ISSUER, "sub": "ada", "aud": "vyris", "exp": NOW_S + 43_200}, user
        ),
        "receipt": Decoder(
            named | {"typ": RECEIPT_TYP},
            {"iss": ISSUER, "jti": "o", "sub": "ada", "drop": "genesis:2025", "aud": "vyris", "iat": NOW_S},
            receipt,
        ),
        "refund": Decoder(
            named | {"typ": REFUND_TYP},
            {"iss": ISSUER, "jti": "n", "event": "REFUND", "transaction": "o", "aud": "vyris", "iat": NOW_S},
            refund,
        ),
    }


ALL = ["encounter", "proof", "user", "receipt", "refund"]
every = pytest.mark.parametrize("decoder", ALL, indirect=True)

TAKEN: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "as it is": lambda header: header,
    "typ in capitals": lambda header: header | {"typ": header["typ"].upper()},
    "typ with its prefix": lambda header: header | {"typ": f"application/{header['typ']}"},
    "typ with its prefix in capitals": lambda header: header | {"typ": f"Application/{header['typ']}"},
    "a member that nobody knows": lambda header: header | {"x-shop": {"a": [1]}, "nonce": "n"},
    "b64 true": lambda header: header | {"b64": True},
    "b64 true and critical": lambda header: header | {"b64": True, "crit": ["b64"]},
    "certificates": lambda header: header | {"x5t#S256": "abc", "x5u": "https://shop.test/c"},
    "cty": lambda header: header | {"cty": "json"},
}
REFUSED: dict[str, dict[str, Any]] = {
    "an unknown extension": {"crit": ["exp"], "exp": 1},
    "an extension that is not there": {"crit": ["b64"]},
    "no extension": {"crit": []},
    "extensions as text": {"crit": "b64", "b64": True},
    "an extension twice": {"crit": ["b64", "b64"], "b64": True},
    "a standard member as an extension": {"crit": ["alg"]},
    "crit null": {"crit": None},
    "a payload that is not encoded": {"b64": False, "crit": ["b64"]},
    "b64 false alone": {"b64": False},
    "b64 a word": {"b64": "true"},
    "alg none": {"alg": "none"},
    "alg in lower case": {"alg": "es256"},
    "typ a number": {"typ": 1},
    "typ of a credential": {"typ": "vc+jwt"},
    "typ of a logout": {"typ": "application/logout+jwt"},
    "kid a number": {"kid": 7},
}


@every
@pytest.mark.parametrize("spelling", TAKEN)
async def test_a_header_in_any_standard_spelling_is_taken(decoder: Decoder, spelling: str) -> None:
    assert await decoder.read(compact(TAKEN[spelling](decoder.header), decoder.claims, KEY))


@every
async def test_a_header_may_be_written_in_lines(decoder: Decoder) -> None:
    header = json.dumps(decoder.header, indent=2).encode()
    assert await decoder.read(compact(header, json.dumps(decoder.claims, indent=1).encode(), KEY))


@every
@pytest.mark.parametrize("change", REFUSED)
async def test_a_header_that_says_something_else_is_refused(decoder: Decoder, change: str) -> None:
    with pytest.raises((VyrisError, TokenRefused)):
        await decoder.read(compact(decoder.header | REFUSED[change], decoder.claims, KEY))


@every
@pytest.mark.parametrize("other", ALL)
async def test_a_token_of_another_kind_is_refused(decoder: Decoder, other: str, jwks: str) -> None:
    typ = _decoders(jwks)[other].header["typ"]
    if typ != decoder.header["typ"]:
        with pytest.raises((VyrisError, TokenRefused), match="typ"):
            await decoder.read(compact(decoder.header | {"typ": typ}, decoder.claims, KEY))


@pytest.mark.parametrize("name", ["encounter", "user", "receipt", "refund"])
@pytest.mark.parametrize("typ", ["JWT", "jwt", "application/JWT", None])
async def test_a_plain_jwt_is_taken_unless_the_own_type_is_demanded(name: str, typ: str | None, jwks: str) -> None:
    decoder = _decoders(jwks)[name]
    header = {member: value for member, value in (decoder.header | {"typ": typ}).items() if value is not None}
    text = compact(header, decoder.claims, KEY)
    assert await decoder.read(text)
    if name != "user":
        strict = _decoders(jwks, own_typ_required=True)[name]
        with pytest.raises((VyrisError, TokenRefused), match="typ"):
            await strict.read(text)
        assert await strict.read(compact(decoder.header, decoder.claims, KEY))


@every
@pytest.mark.parametrize("form", ["{}", "{}.0", "{}.25", "{}e0", "{}0e-1"])
async def test_a_numeric_date_is_any_json_number(decoder: Decoder, form: str) -> None:
    name = "iat" if "iat" in decoder.claims else "exp"
    number = form.format(decoder.claims[name])
    claims = json.dumps(decoder.claims | {name: "DATE"}).replace('"DATE"', number)
    assert await decoder.read(compact(decoder.header, claims.encode(), KEY))


@every
async def test_claims_that_nobody_knows_are_ignored(decoder: Decoder) -> None:
    assert await decoder.read(compact(decoder.header, decoder.claims | {"cnf": {"jkt": "x"}, "é": [None]}, KEY))


@pytest.mark.parametrize("name", ["encounter", "user", "receipt", "refund"])
async def test_an_audience_is_one_name_or_an_array(name: str, jwks: str) -> None:
    decoder = _decoders(jwks)[name]
    audience = decoder.claims["aud"]
    for spelling in (audience, [audience], ["https://club.example", audience], [audience, audience]):
        assert await decoder.read(compact(decoder.header, decoder.claims | {"aud": spelling}, KEY))
    for other in ([], ["other"], "other", 7, {audience: 1}, [[audience]], [audience, 7], ""):
        with pytest.raises((VyrisError, TokenRefused), match="aud"):
            await decoder.read(compact(decoder.header, decoder.claims | {"aud": other}, KEY))


@pytest.mark.parametrize("name", ["encounter", "proof", "refund"])
async def test_a_jti_is_any_string_and_long_ones_stay_apart(name: str, jwks: str) -> None:
    decoder = _decoders(jwks)[name]
    seen = set()
    for jti in ("a" * 128, "a" * 129, "a" * 130, "sha256:x", "ein Umlaut: ü", "a\tb", "a\tc", "\u200b"):
        read: Any = await decoder.read(compact(decoder.header, decoder.claims | {"jti": jti}, KEY))
        kept = read.meeting.jti if name == "encounter" else read.jti if name == "proof" else read.notification_id
        assert 1 <= len(kept) <= 128
        assert kept.isprintable()
        seen.add(kept)
    assert len(seen) == 8
    for jti in ("", 7, None, ["j"], "a\x00b", "\ud800"):
        with pytest.raises((VyrisError, TokenRefused), match="jti"):
            await decoder.read(compact(decoder.header, decoder.claims | {"jti": jti}, KEY))


@every
async def test_base64url_has_one_spelling(decoder: Decoder) -> None:
    genuine = compact(decoder.header, decoder.claims, KEY)
    head, payload, signature = genuine.split(".")
    for text in (f"{genuine}==", f"{head}=.{payload}.{signature}", f"{head}.{payload}\n.{signature}", f"{genuine}+/"):
        with pytest.raises((VyrisError, TokenRefused)):
            await decoder.read(text)


@pytest.mark.parametrize("long", ["k" * 2_000, "https://keys.test/#1", ""])
async def test_a_kid_is_any_string(long: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("keys") / "jwks.json"
    file.write_text(json.dumps({"keys": [JWK | {"kid": long}]}))
    for name, decoder in _decoders(str(file)).items():
        if name != "proof":  # whose limit is 4 kB, and whose key is in it
            assert await decoder.read(compact(decoder.header | {"kid": long}, decoder.claims, KEY))


def test_a_page_token_has_one_spelling() -> None:
    text = encode(Position(datetime.now(UTC), uuid.UUID(ONE)))
    assert str(decode(text).id) == ONE
    raw = base64.urlsafe_b64decode(text + "==")
    for other in (f"{text}==", text[:-1], f" {text}", base64.b64encode(raw + b"\xff").decode(), text[:-1] + "~"):
        with pytest.raises(InvalidRequest):
            decode(other)
