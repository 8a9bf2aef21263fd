"""Texts that the seller's own shop signed: ES256 JWS whose key the shop publishes.

Both receipts and refunds come this way, distinguished by the claim `event`, which only
a refund has. Claims that both need: `iss`, the shop; `jti`, the text's own id; and `aud`
must name us where it is there (RFC 7519 section 4.1.3).

The header's `typ` is `vyris-receipt+jwt` or `vyris-refund+jwt`. `JWT` and no type at all are accepted too, unless the
settings demand the text's own type (RFC 8725 section 3.11).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from services.identity.jose import (
    PLAIN_JWT,
    PublicKey,
    Token,
    TokenRefused,
    names_audience,
    read_token,
    replay_id,
    text_claim,
    verify_token,
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
    """Proves what the merchant signed."""

    def __init__(
        self,
        keys: PublishedKeys[PublicKey],
        issuer: str,
        audience: str,
        remembered: MerchantKeys | None = None,
        *,
        own_typ_required: bool = False,
    ) -> None:
        """`remembered` holds keys of earlier receipts; without it a receipt is lost with its key.

        With `own_typ_required` the header must name the text's own type.
        """
        self._keys = keys
        self._remembered = remembered
        self.issuer = issuer
        self._audience = audience
        self._own_typ_required = own_typ_required

    async def claims(self, text: str, typ: str) -> Mapping[str, Any]:
        """The claims of a text of that type that is by the merchant and for us. Raises TokenRefused, Retryable."""
        token = self._read(text, typ)
        await self._published(token, text, typ)
        return token.claims

    async def receipt_claims(self, text: str) -> tuple[Mapping[str, Any], TokenRefused | Retryable | None]:
        """The claims of a receipt, and why it proves nothing new today.

        Reasons are a key that is withdrawn or cannot be read, and a type that is no longer accepted. Where there is
        one, a key that is remembered has proven the receipt. Raises TokenRefused, Retryable.
        """
        token = self._read(text, RECEIPT_TYP)
        try:
            key = await self._published(token, text, RECEIPT_TYP)
        except (TokenRefused, Retryable) as refusal:
            if self._remembered is None or _signer(token, await self._remembered.named(token.kid)) is None:
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

    async def _published(self, token: Token, text: str, typ: str) -> PublicKey:
        """The published key that signed it."""
        if self._own_typ_required:
            read_token(text, typ=frozenset({typ}), max_bytes=TEXT_LIMIT_BYTES)
        keys = await self._keys.candidates(token.kid)
        if not keys:
            raise TokenRefused("The token's kid names no key that the merchant publishes")
        key = _signer(token, keys)
        if key is None:
            raise TokenRefused("The token's signature is not by the expected key")
        return key

    def _check_audience(self, claims: Mapping[str, Any]) -> None:
        if claims.get("aud") is not None and not names_audience(claims, self._audience):
            raise TokenRefused("The claim aud names somebody else")


def sandbox_claim(claims: Mapping[str, Any]) -> bool:
    """Whether the shop says that nothing was paid: an order of its test mode. Raises TokenRefused."""
    sandbox = claims.get("sandbox", False)
    if not isinstance(sandbox, bool):
        raise TokenRefused("The claim sandbox is neither true nor false")
    return sandbox


def _signer(token: Token, keys: Sequence[PublicKey]) -> PublicKey | None:
    """The key that signed the token, out of the first of `keys`."""
    for key in keys[:TRIED_KEYS_LIMIT]:
        with suppress(TokenRefused):
            verify_token(token, key)
            return key
    return None
