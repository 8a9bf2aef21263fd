"""Bearer tokens: which ones prove a user, and which ones do not."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import jwt
import pytest

from services.identity.jwks import PublishedKeys
from services.identity.user_tokens import UserTokens, UserTokenSettings, opened_user_tokens
from services.identity.user_tokens.issuer_keys import issuer_key
from services.server.runtime.call import Identity
from services.server.runtime.settings import WrongSetting
from tests.signers.merchant import MerchantSigner
from vyris.errors import Retryable, Unauthorized

ISSUER = "https://id.test"


def claims(**changes: Any) -> dict[str, Any]:
    return {"iss": ISSUER, "sub": "ada", "aud": ["vyris", "other"], "exp": int(time.time()) + 600, **changes}


@pytest.fixture
def provider() -> MerchantSigner:
    return MerchantSigner()


@pytest.fixture
def tokens(provider: MerchantSigner, tmp_path: Path) -> UserTokens:
    keys = PublishedKeys(str(provider.write_jwks(tmp_path)), "the identity provider", issuer_key)
    return UserTokens(keys, ISSUER, "vyris")


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_a_genuine_token_proves_its_sub(tokens: UserTokens, provider: MerchantSigner, scheme: str) -> None:
    assert await tokens.subject([f"{scheme} {provider.sign(claims())}"]) == "ada"
    assert await tokens.subject([f"Bearer {provider.sign(claims(), typ='at+jwt')}"]) == "ada"


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"iss": "https://id.evil"}, "iss"),
        ({"iss": None}, "iss"),
        ({"aud": "other"}, "aud"),
        ({"aud": None}, "aud"),
        ({"exp": None}, "exp"),
        ({"exp": int(time.time()) - 120}, "expired"),
        ({"exp": int(time.time()) + 90_000}, "day"),
        ({"nbf": int(time.time()) + 80_000}, "nbf"),
        ({"sub": None}, "sub"),
        ({"sub": ""}, "sub"),
        ({"sub": "a" * 513}, "sub"),
    ],
)
async def test_a_token_that_says_something_else_is_refused(
    tokens: UserTokens, provider: MerchantSigner, changes: dict[str, Any], word: str
) -> None:
    with pytest.raises(Unauthorized, match=word):
        await tokens.subject([f"Bearer {provider.sign(claims(**changes))}"])


async def test_unsigned_and_foreign_tokens_are_refused(tokens: UserTokens, provider: MerchantSigner) -> None:
    genuine = provider.sign(claims())
    unsigned = jwt.encode(claims(), None, algorithm="none")
    symmetric = jwt.encode(claims(), "k" * 32, algorithm="HS256", headers={"kid": "key-1"})
    tampered = genuine[:-4] + ("AAAA" if not genuine.endswith("AAAA") else "BBBB")
    for token in (unsigned, symmetric, tampered, MerchantSigner().sign(claims()), provider.sign(claims(), kid="none")):
        with pytest.raises(Unauthorized):
            await tokens.subject([f"Bearer {token}"])
    for header in ([], [""], [genuine], [f"Basic {genuine}"], [f"Bearer {genuine}", f"Bearer {genuine}"], ["Bearer "]):
        with pytest.raises(Unauthorized):
            await tokens.subject(header)


async def test_a_new_key_under_an_old_name_counts_at_once(
    tokens: UserTokens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    renewed = MerchantSigner()
    with pytest.raises(Unauthorized):
        await tokens.subject([f"Bearer {renewed.sign(claims())}"])
    renewed.write_jwks(tmp_path)
    monkeypatch.setattr("services.identity.jwks.published_keys.READ_AGAIN_S", 0)
    assert await tokens.subject([f"Bearer {renewed.sign(claims())}"]) == "ada"


async def test_while_the_keys_cannot_be_read_the_answer_is_retryable(provider: MerchantSigner) -> None:
    away = UserTokens(PublishedKeys("http://127.0.0.1:1/jwks", "the identity provider", issuer_key), ISSUER, "")
    with pytest.raises(Retryable):
        await away.subject([f"Bearer {provider.sign(claims())}"])


def test_an_identity_is_one_user_and_raises_its_refusal_on_use() -> None:
    Identity("ada").must_be("ada")
    for other in ("eve", "", "Ada"):
        with pytest.raises(Unauthorized):
            Identity("ada").must_be(other)
    with pytest.raises(Unauthorized, match="missing"):
        Identity(Unauthorized("missing")).must_be("")


@pytest.mark.parametrize(
    ("settings", "production"),
    [
        ({"user_jwt_issuer": ISSUER}, False),
        ({"user_jwt_jwks": "/nowhere"}, False),
        ({"user_jwt_issuer": ISSUER, "user_jwt_jwks": "/nowhere"}, False),
        ({"user_jwt_issuer": ISSUER, "user_jwt_jwks": "http://id.test/jwks"}, True),
    ],
)
async def test_contradictory_settings_are_refused(settings: dict[str, str], production: bool) -> None:
    with pytest.raises(WrongSetting, match="USER_JWT"):
        async with opened_user_tokens(UserTokenSettings(**settings), production=production):
            pass
