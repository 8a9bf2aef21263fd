"""Keys and tokens of JOSE (RFC 7515, 7517, 7519), parsed strictly: P-256 keys, compact tokens. Pure: no I/O, no clock.

`public_keys` turns PEM or JWK into a `PublicKey`. `compact_jws` parses a token cheaply and then verifies its signature.
`claims` reads typed values out of the claims. `strict_json` parses JSON and base64url. All raise `KeyRefused`,
`TokenRefused` or `NotStrict`. A caller may see their messages: they name the broken rule, never the input.
"""

from services.identity.jose.claims import (
    NUMERIC_DATE_LIMIT,
    audiences,
    names_audience,
    numeric_date,
    optional_numeric_date,
    replay_id,
    text_claim,
)
from services.identity.jose.compact_jws import PLAIN_JWT, Token, find_signer, read_token, verify_token
from services.identity.jose.public_keys import (
    PRIVATE_MEMBERS,
    PublicKey,
    is_for_signatures,
    kid_of,
    public_key_from_jwk,
    public_key_from_text,
    stored_public_key,
)
from services.identity.jose.refusals import KeyRefused, TokenRefused
from services.identity.jose.strict_json import NotStrict, decode_base64url, read_object

__all__ = [
    "NUMERIC_DATE_LIMIT",
    "PLAIN_JWT",
    "PRIVATE_MEMBERS",
    "KeyRefused",
    "NotStrict",
    "PublicKey",
    "Token",
    "TokenRefused",
    "audiences",
    "decode_base64url",
    "find_signer",
    "is_for_signatures",
    "kid_of",
    "names_audience",
    "numeric_date",
    "optional_numeric_date",
    "public_key_from_jwk",
    "public_key_from_text",
    "read_object",
    "read_token",
    "replay_id",
    "stored_public_key",
    "text_claim",
    "verify_token",
]
