"""Authenticate a caller by the identity provider's bearer token.

A token is a JWT (RFC 7519, RFC 9068 for access tokens) in `authorization: Bearer …`, over JSON and gRPC. Its signature
is ES256, RS256 or EdDSA; the key of its `kid` decides which (`issuer_keys.py`). Its claims:

iss   USER_JWT_ISSUER        exp   required, at most a day ahead
sub   the user_id            nbf   optional
aud   required if USER_JWT_AUDIENCE is set

This process's clock decides whether the token is valid now, with a minute of leeway, because no transaction has begun
yet and a token records nothing. The result is stored in the call. The service raises it at its check of the owner,
whose place the contract sets.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from google.protobuf.message import Message

from services.identity.jose import (
    TokenRefused,
    names_audience,
    numeric_date,
    optional_numeric_date,
    read_token,
    text_claim,
)
from services.identity.jwks import PublishedKeys, opened_keys
from services.identity.user_tokens.issuer_keys import ALGORITHMS, IssuerKey, issuer_key, verify_by_any
from services.identity.user_tokens.settings import UserTokenSettings
from services.server.runtime.call import Call, Identity
from services.server.runtime.settings import WrongSetting
from vyris.errors import Unauthorized, VyrisError

USER_FIELD: Final = "user_id"
TOKEN_LIMIT_BYTES: Final = 8_192
LEEWAY_S: Final = 60
LIFETIME_LIMIT_S: Final = 86_400
_SCHEME: Final = "bearer "
_TYP: Final = frozenset({None, "jwt", "at+jwt"})
_NEEDED: Final = "A bearer token of the user is required (header Authorization)"


class UserTokens:
    """Authenticates callers. It is an `Authenticate` of the call boundary."""

    def __init__(
        self, keys: PublishedKeys[IssuerKey], issuer: str, audience: str, clock_s: Callable[[], float] = time.time
    ) -> None:
        """`audience`: the required name in aud; empty: aud is not checked."""
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._clock_s = clock_s

    async def __call__(self, request: Message, call: Call) -> None:
        """Set the identity of a call with a `user_id`: the proven user, or the error for a check. Raises nothing."""
        if USER_FIELD not in request.DESCRIPTOR.fields_by_name:
            return
        try:
            claims = await self._claims(call.metadata_values("authorization"))
            call.identity = Identity(_subject(claims), _verified_email(claims))
        except TokenRefused as refusal:
            call.identity = Identity(Unauthorized(f"Bearer token: {refusal.message}"))
        except VyrisError as refusal:
            call.identity = Identity(refusal)

    async def subject(self, authorization: list[str]) -> str:
        """Return the user that the bearer token proves. Raises Unauthorized (also for several tokens), Retryable."""
        try:
            return _subject(await self._claims(authorization))
        except TokenRefused as refusal:
            raise Unauthorized(f"Bearer token: {refusal.message}") from None

    async def _claims(self, authorization: list[str]) -> Mapping[str, Any]:
        """Verify the only bearer token and return its claims. Raises Unauthorized, TokenRefused, Retryable."""
        if len(authorization) != 1 or not authorization[0].lower().startswith(_SCHEME):
            raise Unauthorized(_NEEDED)
        return await self._verify(authorization[0][len(_SCHEME) :].strip())

    async def _verify(self, text: str) -> Mapping[str, Any]:
        token = read_token(text, typ=_TYP, max_bytes=TOKEN_LIMIT_BYTES, algorithms=ALGORITHMS)
        self._check(token.claims)
        keys = await self._keys.candidates(token.kid)
        if not keys:
            raise TokenRefused("The token's kid names no key that the identity provider publishes")
        try:
            return verify_by_any(token, keys)
        except TokenRefused:
            newer = await self._keys.newer_candidates(token.kid, keys)
            if not newer:
                raise
        return verify_by_any(token, newer)

    def _check(self, claims: Mapping[str, Any]) -> None:
        if claims.get("iss") != self._issuer:
            raise TokenRefused("The claim iss does not name the identity provider that is trusted here")
        if self._audience and not names_audience(claims, self._audience):
            raise TokenRefused("The claim aud does not name this service")
        now_s = self._clock_s()
        ends_s, begins_s = numeric_date(claims, "exp"), optional_numeric_date(claims, "nbf")
        if ends_s <= now_s - LEEWAY_S:
            raise TokenRefused("The token has expired")
        if ends_s > now_s + LIFETIME_LIMIT_S + LEEWAY_S:
            raise TokenRefused("The token lives longer than a day")
        if begins_s is not None and begins_s > now_s + LEEWAY_S:
            raise TokenRefused("The token's time has not come (nbf)")


def _subject(claims: Mapping[str, Any]) -> str:
    return text_claim(claims, "sub")


def _verified_email(claims: Mapping[str, Any]) -> str:
    """OpenID Connect Core 5.1: `email` counts if `email_verified` is true. Some providers write "true" as a string."""
    email = claims.get("email")
    return email if isinstance(email, str) and claims.get("email_verified") in (True, "true") else ""


@asynccontextmanager
async def opened_user_tokens(settings: UserTokenSettings, *, production: bool) -> AsyncIterator[UserTokens | None]:
    """Open the authentication of users; None if the settings name no identity provider. Raises WrongSetting."""
    issuer, source = settings.user_jwt_issuer, settings.user_jwt_jwks
    if bool(issuer) != bool(source):
        raise WrongSetting("USER_JWT_ISSUER and USER_JWT_JWKS come together")
    if not issuer:
        yield None
        return
    async with opened_keys("USER_JWT_JWKS", source, "the identity provider", issuer_key, production=production) as keys:
        yield UserTokens(keys, issuer, settings.user_jwt_audience)
