"""P-256 public keys and compact ES256 tokens, read strictly. Pure: no I/O, no clock.

`public_keys` turns PEM or JWK into a `PublicKey`; `compact_jws` reads a token
cheaply and then verifies its signature; `claims` takes values out of what was
signed. What is refused raises `KeyRefused` or `TokenRefused`, whose messages a
caller may see: they name the rule, never the input.
"""

from services.es256.claims import names_audience, numeric_date, optional_numeric_date, text_claim
from services.es256.compact_jws import Token, read_token, verify_token
from services.es256.public_keys import (
    PRIVATE_MEMBERS,
    PublicKey,
    kid_of,
    public_key_from_jwk,
    public_key_from_text,
    stored_public_key,
)
from services.es256.refusals import KeyRefused, TokenRefused

__all__ = [
    "PRIVATE_MEMBERS",
    "KeyRefused",
    "PublicKey",
    "Token",
    "TokenRefused",
    "kid_of",
    "names_audience",
    "numeric_date",
    "optional_numeric_date",
    "public_key_from_jwk",
    "public_key_from_text",
    "read_token",
    "stored_public_key",
    "text_claim",
    "verify_token",
]
