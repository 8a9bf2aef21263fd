"""Verify texts that the seller's own shop signed: ES256 JWS by a key that the shop publishes.

Receipts and refunds have the same form; only a refund has the claim `event`. Both need the claims `iss`, the shop, and
`jti`, the text's own id. If there is an `aud`, it must name us (RFC 7519 section 4.1.3).

The header's `typ` is `vyris-receipt+jwt` or `vyris-refund+jwt`. `JWT` and a missing type are also accepted, unless
the settings require the text's own type (RFC 8725 section 3.11).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from services.identity.jose import (
    PLAIN_JWT,
    PublicKey,
    Token,
    TokenRefused,
    find_signer,
    names_audience,
    read_token,
    replay_id,
    text_claim,
)
from services.identity.jwks import PublishedKeys
from services.mint.receipts.merchant_keys import MerchantKeys
from vyris.bounds import limit_of
from vyris.errors import Retryable
from vyris.mint.v1 import mint_pb2

KIND: Final = "merchant"
RECEIPT_TYP: Final = "vyris-receipt+jwt"
REFUND_TYP: Final = "vyris-refund+jwt"
TEXT_LIMIT_BYTES: Final = limit_of(mint_pb2.NotifyMerchantRequest, "signed_payload")
TRIED_KEYS_LIMIT: Final = 8


class MerchantSignatures:
    """Verifies the merchant's signatures."""

    def __init__(
        self,
        keys: PublishedKeys[PublicKey],
        issuer: str,
        audience: str,
        remembered: MerchantKeys | None = None,
        *,
        own_typ_required: bool = False,
    ) -> None:
        """`remembered` has the keys of earlier receipts; without it, receipts of a withdrawn key are refused.

        `own_typ_required`: the header must name the text's own type.
        """
        self._keys = keys
        self._remembered = remembered
        self.issuer = issuer
        self._audience = audience
        self._own_typ_required = own_typ_required

    async def claims(self, text: str, typ: str) -> Mapping[str, Any]:
        """The claims of a text of type `typ` by the merchant and for us. Raises TokenRefused, Retryable."""
        token = self._read(text, typ)
        await self._find_published_key(token, text, typ)
        return token.claims

    async def receipt_claims(self, text: str) -> tuple[Mapping[str, Any], TokenRefused | Retryable | None]:
        """The claims of a receipt, and the reason why it may not mint now, if there is one.

        Such reasons are a key that is withdrawn or cannot be read, and a type that is no longer accepted. Then a
        remembered key has verified the receipt. Raises TokenRefused, Retryable.
        """
        token = self._read(text, RECEIPT_TYP)
        try:
            key = await self._find_published_key(token, text, RECEIPT_TYP)
        except (TokenRefused, Retryable) as refusal:
            if self._remembered is None or not _is_signed_by(token, await self._remembered.named(token.kid)):
                raise
            return token.claims, refusal
        if self._remembered is not None:
            await self._remembered.remember(token.kid, key)
        return token.claims, None

    def _read(self, text: str, typ: str) -> Token:
        token = read_token(text, typ=PLAIN_JWT | {typ}, max_bytes=TEXT_LIMIT_BYTES)
        if text_claim(token.claims, "iss") != self.issuer:
            raise TokenRefused("The claim iss does not name the merchant whose receipts are accepted here")
        replay_id(token.claims)
        self._check_audience(token.claims)
        return token

    async def _find_published_key(self, token: Token, text: str, typ: str) -> PublicKey:
        """The published key that signed the token. Raises TokenRefused, Retryable."""
        if self._own_typ_required:
            read_token(text, typ=frozenset({typ}), max_bytes=TEXT_LIMIT_BYTES)
        keys = await self._keys.candidates(token.kid)
        if not keys:
            raise TokenRefused("The token's kid names no key that the merchant publishes")
        key = find_signer(token, keys[:TRIED_KEYS_LIMIT])
        if key is None:
            newer = await self._keys.newer_candidates(token.kid, keys)
            key = find_signer(token, newer[:TRIED_KEYS_LIMIT])
        if key is None:
            raise TokenRefused("The token's signature is not by the expected key")
        return key

    def _check_audience(self, claims: Mapping[str, Any]) -> None:
        if claims.get("aud") is not None and not names_audience(claims, self._audience):
            raise TokenRefused("The claim aud names somebody else")


def sandbox_claim(claims: Mapping[str, Any]) -> bool:
    """Whether it is an order of the shop's test mode, which nobody paid. Raises TokenRefused."""
    sandbox = claims.get("sandbox", False)
    if not isinstance(sandbox, bool):
        raise TokenRefused("The claim sandbox is neither true nor false")
    return sandbox


def _is_signed_by(token: Token, keys: Sequence[PublicKey]) -> bool:
    """Whether one of the first `TRIED_KEYS_LIMIT` of `keys` signed the token."""
    return find_signer(token, keys[:TRIED_KEYS_LIMIT]) is not None
