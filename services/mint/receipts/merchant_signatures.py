"""Texts that the seller's own shop signed: ES256 JWS whose key the shop publishes.

Both receipts and refunds come this way, told apart by the claim `event`, which only
a refund has. Claims that both need: `iss`, the shop; `jti`, the text's own id; and `aud`
must name us where it is there (RFC 7519 section 4.1.3).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from services.jose import PLAIN_JWT, PublicKey, TokenRefused, names_audience, read_token, text_claim, verify_token
from services.jwks import PublishedKeys

KIND: Final = "merchant"
TEXT_LIMIT_BYTES: Final = 8_192


class MerchantSignatures:
    """Proves what the merchant signed."""

    def __init__(self, keys: PublishedKeys[PublicKey], issuer: str, audience: str) -> None:
        self._keys = keys
        self.issuer = issuer
        self._audience = audience

    async def claims(self, text: str) -> Mapping[str, Any]:
        """The claims of a text that is by the merchant and for us. Raises TokenRefused, Retryable."""
        token = read_token(text, typ=PLAIN_JWT, max_bytes=TEXT_LIMIT_BYTES)
        if text_claim(token.claims, "iss") != self.issuer:
            raise TokenRefused("The claim iss does not name the merchant whose receipts are accepted here")
        text_claim(token.claims, "jti")
        self._check_audience(token.claims)
        key = await self._keys.key(token.kid)
        if key is None:
            raise TokenRefused("The token's kid names no key that the merchant publishes")
        return verify_token(token, key)

    def _check_audience(self, claims: Mapping[str, Any]) -> None:
        if claims.get("aud") is not None and not names_audience(claims, self._audience):
            raise TokenRefused("The claim aud names somebody else")


def sandbox_claim(claims: Mapping[str, Any]) -> bool:
    """Whether the shop says that nothing was paid: an order of its test mode. Raises TokenRefused."""
    sandbox = claims.get("sandbox", False)
    if not isinstance(sandbox, bool):
        raise TokenRefused("The claim sandbox is neither true nor false")
    return sandbox
