"""An encounter token: parse and check its content, before the expensive check of the signature.

A compact ES256 JWS with the claims `jti`, `sub` (the initiator), `aud` (the receiver) and `iat`; optionally `exp`,
`nbf`, and `lat` with `lng`. `aud` may be an array with additional audiences. This module only computes the period in
which the token is valid; Postgres' clock decides.

The header's `typ` is `vyris-encounter+jwt`. `JWT` and no type are also accepted, unless the settings require the
token's own type (RFC 8725 section 3.11).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple
from uuid import UUID

from services.identity.jose import (
    PLAIN_JWT,
    PublicKey,
    Token,
    TokenRefused,
    audiences,
    find_signer,
    numeric_date,
    optional_numeric_date,
    read_token,
    replay_id,
    text_claim,
)
from services.server.runtime.fields import known_uuid
from vyris.bounds import limit_of
from vyris.encounter.v1 import encounter_pb2
from vyris.errors import NotFound

ENCOUNTER_TYP: Final = "vyris-encounter+jwt"
OWN_TYP: Final[frozenset[str | None]] = frozenset({ENCOUNTER_TYP})
TOKEN_LIMIT_BYTES: Final = limit_of(encounter_pb2.VerifyEncounterRequest, "token")
HUNDREDTHS: Final = 100
LATITUDE_LIMIT: Final = 90
LONGITUDE_LIMIT: Final = 180


class Location(NamedTuple):
    """The location in hundredths of a degree, so accurate to about a kilometre."""

    latitude_hundredths: int
    longitude_hundredths: int


class Meeting(NamedTuple):
    """A token's content. Times are seconds since 1970; the token is valid from `begins_s` to `ends_s`."""

    jti: str
    initiator_id: UUID
    receiver_id: UUID
    issued_at_s: float
    begins_s: float
    ends_s: float
    location: Location | None


class ProvenMeeting(NamedTuple):
    """A meeting with a verified token. `signing_key` is the thumbprint of the key that signed it."""

    meeting: Meeting
    signing_key: str


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """The limits of a token's age and of its lifetime, from `iat` to `exp`."""

    max_age_s: int
    max_lifetime_s: int


def read_encounter(text: str, limits: TimeLimits, *, own_typ_required: bool = False) -> tuple[Token, Meeting]:
    """Parse a token without verifying its signature. Raises TokenRefused."""
    typ = OWN_TYP if own_typ_required else OWN_TYP | PLAIN_JWT
    token = read_token(text, typ=typ, max_bytes=TOKEN_LIMIT_BYTES)
    return token, _meeting(token.claims, limits)


def prove(token: Token, meeting: Meeting, keys: Sequence[PublicKey]) -> ProvenMeeting:
    """Verify that one of `keys` signed the token. Raises TokenRefused, with the same message for every reason."""
    key = find_signer(token, keys)
    if key is None:
        raise TokenRefused("The token is not signed by a known key")
    return ProvenMeeting(meeting, key.thumbprint)


def _meeting(claims: Mapping[str, Any], limits: TimeLimits) -> Meeting:
    jti = replay_id(claims)
    initiator_id, receiver_id = _initiator_id(claims), _receiver_id(claims)
    if initiator_id == receiver_id:
        raise TokenRefused("The claims sub and aud name the same membership")
    issued_at_s = numeric_date(claims, "iat")
    begins_s = max(issued_at_s, optional_numeric_date(claims, "nbf") or 0.0)
    ends_s = min(issued_at_s + limits.max_age_s, _expiry_s(claims, issued_at_s, limits))
    return Meeting(jti, initiator_id, receiver_id, issued_at_s, begins_s, ends_s, _location(claims))


def _initiator_id(claims: Mapping[str, Any]) -> UUID:
    found = _membership_id(text_claim(claims, "sub"))
    if found is None:
        raise TokenRefused("The claim sub is not a membership's id")
    return found


def _receiver_id(claims: Mapping[str, Any]) -> UUID:
    """The one membership among the audiences."""
    found = {id_ for id_ in map(_membership_id, audiences(claims)) if id_ is not None}
    if len(found) != 1:
        raise TokenRefused("The claim aud does not name one membership's id")
    return found.pop()


def _membership_id(text: str) -> UUID | None:
    try:
        return known_uuid(text)
    except NotFound:
        return None


def _expiry_s(claims: Mapping[str, Any], issued_at_s: float, limits: TimeLimits) -> float:
    expires_s = optional_numeric_date(claims, "exp")
    if expires_s is None:
        return issued_at_s + limits.max_age_s
    if expires_s <= issued_at_s:
        raise TokenRefused("The claim exp is not after iat")
    if expires_s - issued_at_s > limits.max_lifetime_s:
        raise TokenRefused("The claim exp is too far after iat")
    return expires_s


def _location(claims: Mapping[str, Any]) -> Location | None:
    if "lat" not in claims and "lng" not in claims:
        return None
    return Location(
        _hundredths(claims.get("lat"), "lat", LATITUDE_LIMIT), _hundredths(claims.get("lng"), "lng", LONGITUDE_LIMIT)
    )


def _hundredths(degrees: object, name: str, limit: int) -> int:
    if isinstance(degrees, bool) or not isinstance(degrees, int | float):
        raise TokenRefused(f"The claim {name} is missing beside the other of the location, or not a number")
    if not -limit <= degrees <= limit:
        raise TokenRefused(f"The claim {name} is out of bounds")
    return round(degrees * HUNDREDTHS)
