"""`vyris dev encounter-token`: sign an encounter token with the local stack's key."""

from __future__ import annotations

import time
import uuid
from typing import Annotated, Any

import jwt
import typer

from cli.console import fail
from services.encounter.authority_keys import authority_keys
from services.encounter.development_key import development_key, has_development_key, public_pem
from services.encounter.encounter_token import ENCOUNTER_TYP
from services.encounter.settings import AuthoritySettings
from services.identity.jose import public_key_from_text
from services.server.runtime.settings import WrongSetting, load


def encounter_token(
    from_: Annotated[
        uuid.UUID, typer.Option("--from", metavar="MEMBERSHIP_ID", help="The membership that began the encounter.")
    ],
    to: Annotated[uuid.UUID, typer.Option("--to", metavar="MEMBERSHIP_ID", help="The membership that it met.")],
    lat: Annotated[float | None, typer.Option(help="Latitude in degrees, rounded to 0.01.", min=-90, max=90)] = None,
    lng: Annotated[float | None, typer.Option(help="Longitude in degrees, rounded to 0.01.", min=-180, max=180)] = None,
) -> None:
    """Print an encounter token, signed with the local stack's key. It works once and for five minutes.

    POST it to /encounters/verify as {"token": "…"}.
    """
    if (lat is None) != (lng is None):
        fail("Give --lat and --lng both, or neither.")
    settings = load(AuthoritySettings)
    if settings.production:
        fail("VYRIS_ENV is production: there, only the owner of the private key can sign tokens.")
    folder = settings.vyris_state_dir
    if not has_development_key(folder):
        fail(f"There is no signing key in {folder}: start the stack there (`make up`), or name its VYRIS_STATE_DIR.")
    try:
        key = development_key(folder)
        configured = authority_keys(settings.encounter_jwt_public_key)
    except WrongSetting as problem:
        fail(f"No token: {problem}.")
    own = public_key_from_text(public_pem(key)).thumbprint
    if settings.encounter_jwt_public_key and own not in configured.named:
        fail("ENCOUNTER_JWT_PUBLIC_KEY is set and is not the local stack's key, so its tokens would be refused.")
    claims: dict[str, Any] = {"jti": str(uuid.uuid4()), "sub": str(from_), "aud": str(to), "iat": int(time.time())}
    if lat is not None and lng is not None:
        claims |= {"lat": lat, "lng": lng}
    typer.echo(jwt.encode(claims, key, algorithm="ES256", headers={"typ": ENCOUNTER_TYP}))
