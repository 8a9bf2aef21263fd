"""Texts that the seller's own shop signed: ES256 JWS whose key the shop publishes.

Both receipts and refunds come this way, told apart by the claim `event`, which only
a refund has. Claims that both need: `iss`, the shop; `jti`, the text's own id; and `aud`
must name us where it is there (RFC 7519 section 4.1.3).

The header's `typ` is `vyris-receipt+jwt` or `vyris-refund+jwt`. `JWT` and no type at all are accepted too, unless the
settings demand the text's own type (RFC 8725 section 3.11).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from services.jose import (
    PLAIN_JWT,
    PublicKey,
    TokenRefused,
    names_audience,
    read_token,
    replay_id,
    text_claim,
    verify_by_any,
)
from services.jwks import PublishedKeys

KIND: Final = "merchant"
RECEIPT_TYP: Final = "vyris-receipt+jwt"
REFUND_TYP: Final = "vyris-refund+jwt"
TEXT_LIMIT_BYTES: Final = 8_192


class MerchantSignatures:
    """Proves what the merchant signed."""

    def __init__(
        self, keys: PublishedKeys[PublicKey], issuer: str, audience: str, *, own_typ_required: bool = False
    ) -> None:
        self._keys = keys
        self.issuer = issuer
        self._audience = audience
        self._further_types: frozenset[str | None] = frozenset() if own_typ_required else PLAIN_JWT

    async def claims(self, text: str, typ: str) -> Mapping[str, Any]:
        """The claims of a text of that type that is by the merchant and for us. Raises TokenRefused, Retryable."""
        token = read_token(text, typ=self._further_types | {typ}, max_bytes=TEXT_LIMIT_BYTES)
        if text_claim(token.claims, "iss") != self.issuer:
            raise TokenRefused("The claim iss does not name the merchant whose receipts are accepted here")
        replay_id(token.claims)
        self._check_audience(token.claims)
        keys = await self._keys.candidates(token.kid)
        if not keys:
            raise TokenRefused("The token's kid names no key that the merchant publishes")
        return verify_by_any(token, keys)

    def _check_audience(self, claims: Mapping[str, Any]) -> None:
        if claims.get("aud") is not None and not names_audience(claims, self._audience):
            raise TokenRefused("The claim aud names somebody else")


def sandbox_claim(claims: Mapping[str, Any]) -> bool:
    """Whether the shop says that nothing was paid: an order of its test mode. Raises TokenRefused."""
    sandbox = claims.get("sandbox", False)
    if not isinstance(sandbox, bool):
        raise TokenRefused("The claim sandbox is neither true nor false")
    return sandbox
