"""What is read from a token before its signature is checked, and how the token is proven."""

from __future__ import annotations

import time
import uuid

import pytest

from services.encounter.encounter_token import Location, TimeLimits, prove, read_encounter
from services.identity.jose import TokenRefused, public_key_from_text
from tests.signers.encounter import Signer, compact, hostile_tokens, twin

LIMITS = TimeLimits(max_age_s=300, max_lifetime_s=3_600)
SIGNER = Signer(str(uuid.uuid4()), str(uuid.uuid4()))
KEY = public_key_from_text(SIGNER.pem.decode())
# These are well formed and well signed: only Postgres can refuse them.
FOR_POSTGRES = {
    "sub unknown", "sub revoked", "aud unknown", "aud revoked",
    "iat in the future", "iat too old", "exp past", "nbf in the future",
}  # fmt: skip
HOSTILE = {name: token for name, token in hostile_tokens(SIGNER, str(uuid.uuid4())).items() if name not in FOR_POSTGRES}
UNKNOWN_KID = {"unknown kid", "kid a path", "kid an injection"}  # the service finds no key for them


@pytest.mark.parametrize("name", sorted(HOSTILE.keys() - UNKNOWN_KID))
def test_a_hostile_token_is_refused_before_postgres_is_asked(name: str) -> None:
    with pytest.raises(TokenRefused):
        prove(*read_encounter(HOSTILE[name], LIMITS), [KEY])


def test_a_genuine_token_and_its_twin_prove_the_same_meeting() -> None:
    token = SIGNER.token()
    proven = prove(*read_encounter(token, LIMITS), [KEY])
    assert proven == prove(*read_encounter(twin(token), LIMITS), [KEY])
    assert proven.signing_key == KEY.thumbprint
    assert str(proven.meeting.initiator_id) == SIGNER.initiator
    assert str(proven.meeting.receiver_id) == SIGNER.receiver


def test_every_known_key_is_tried_and_none_is_no_proof() -> None:
    other = public_key_from_text(Signer("", "").pem.decode())
    token, meeting = read_encounter(SIGNER.token(), LIMITS)
    assert prove(token, meeting, [other, KEY]).signing_key == KEY.thumbprint
    for keys in ([], [other]):
        with pytest.raises(TokenRefused, match="not signed by a known key"):
            prove(token, meeting, keys)


def test_a_token_counts_from_iat_or_nbf_to_its_age_limit_or_exp() -> None:
    now = int(time.time())

    def window(**claims: float) -> tuple[float, float]:
        _, meeting = read_encounter(SIGNER.token(iat=now, **claims), LIMITS)
        return meeting.begins_s - now, meeting.ends_s - now

    assert window() == (0, 300)
    assert window(exp=now + 60) == (0, 60)
    assert window(exp=now + 3_600) == (0, 300)
    assert window(nbf=now + 10) == (10, 300)
    assert window(nbf=now - 10) == (0, 300)
    with pytest.raises(TokenRefused, match="too far"):
        window(exp=now + 3_601)


@pytest.mark.parametrize(
    ("lat", "lng", "kept"),
    [
        (52.520008, 13.404954, (5252, 1340)),
        (-90, 180, (-9000, 18000)),
        (-0.001, 0.009, (0, 1)),
        (1, -180.0, (100, -18000)),
    ],
)
def test_a_location_is_rounded_to_a_hundredth_of_a_degree(lat: float, lng: float, kept: tuple[int, int]) -> None:
    _, meeting = read_encounter(SIGNER.token(lat=lat, lng=lng), LIMITS)
    assert meeting.location == Location(*kept)


@pytest.mark.parametrize(
    "header", [{"alg": "ES256"}, {"alg": "ES256", "typ": "jwt"}, {"alg": "ES256", "typ": "application/JWT"}]
)
def test_typ_may_be_absent_or_jwt_in_any_spelling(header: dict[str, str]) -> None:
    read_encounter(compact(header, SIGNER.claims(), SIGNER.key), LIMITS)
