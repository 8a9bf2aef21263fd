"""Texts that the seller's own shop signed: ES256 JWS whose key the shop publishes.

Both receipts and refunds come this way, told apart by the claim `event`, which only
a refund has. Claims that both need: `iss`, the shop; `jti`, the text's own id; and `aud`
must name us where it is there (RFC 7519 section 4.1.3).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from services.jose import (
    PLAIN_JWT,
    PublicKey,
    Token,
    TokenRefused,
    names_audience,
    read_token,
    text_claim,
    verify_token,
)
from services.jwks import PublishedKeys
from services.mint.receipts.merchant_keys import MerchantKeys
from vyris.errors import Retryable

KIND: Final = "merchant"
TEXT_LIMIT_BYTES: Final = 8_192
TRIED_KEYS_LIMIT: Final = 8


class MerchantSignatures:
    """Proves what the merchant signed."""

    def __init__(
        self,
        keys: PublishedKeys[PublicKey],
        issuer: str,
        audience: str,
        remembered: MerchantKeys | None = None,
    ) -> None:
        """`remembered` holds keys of earlier receipts; without it a receipt is lost with its key."""
        self._keys = keys
        self._remembered = remembered
        self.issuer = issuer
        self._audience = audience

    async def claims(self, text: str) -> Mapping[str, Any]:
        """The claims of a text that is by the merchant and for us. Raises TokenRefused, Retryable."""
        token = self._read(text)
        await self._published(token)
        return token.claims

    async def receipt_claims(self, text: str) -> tuple[Mapping[str, Any], TokenRefused | Retryable | None]:
        """The claims of a receipt, and why its key proves nothing new today: withdrawn, or not to be read.

        Where that is not None, a key that is remembered has proven the receipt. Raises TokenRefused, Retryable.
        """
        token = self._read(text)
        try:
            key = await self._published(token)
        except (TokenRefused, Retryable) as refusal:
            if not await self._is_by_remembered_key(token):
                raise
            return token.claims, refusal
        if self._remembered is not None:
            await self._remembered.remember(token.kid, key)
        return token.claims, None

    def _read(self, text: str) -> Token:
        token = read_token(text, typ=PLAIN_JWT, max_bytes=TEXT_LIMIT_BYTES)
        if text_claim(token.claims, "iss") != self.issuer:
            raise TokenRefused("The claim iss does not name the merchant whose receipts are accepted here")
        text_claim(token.claims, "jti")
        self._check_audience(token.claims)
        return token

    async def _published(self, token: Token) -> PublicKey:
        """The published key that signed it."""
        key = await self._keys.key(token.kid)
        if key is None:
            raise TokenRefused("The token's kid names no key that the merchant publishes")
        verify_token(token, key)
        return key

    async def _is_by_remembered_key(self, token: Token) -> bool:
        keys = [] if self._remembered is None else await self._remembered.named(token.kid)
        for key in keys[:TRIED_KEYS_LIMIT]:
            try:
                verify_token(token, key)
            except TokenRefused:
                continue
            return True
        return False

    def _check_audience(self, claims: Mapping[str, Any]) -> None:
        if claims.get("aud") is not None and not names_audience(claims, self._audience):
            raise TokenRefused("The claim aud names somebody else")


def sandbox_claim(claims: Mapping[str, Any]) -> bool:
    """Whether the shop says that nothing was paid: an order of its test mode. Raises TokenRefused."""
    sandbox = claims.get("sandbox", False)
    if not isinstance(sandbox, bool):
        raise TokenRefused("The claim sandbox is neither true nor false")
    return sandbox
