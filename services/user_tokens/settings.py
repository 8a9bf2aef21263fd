"""Settings of user tokens, to be inherited by the settings of a service whose calls name a `user_id`."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings

from services.device_proof import DeviceProofMode
from services.runtime.settings import WrongSetting


class UserTokenSettings(BaseSettings):
    """`USER_JWT_ISSUER`, `USER_JWT_JWKS`, `USER_JWT_AUDIENCE`."""

    user_jwt_issuer: str = Field(
        "",
        max_length=512,
        description="the claim iss of users' bearer tokens; with it, calls that name a user_id need such a token",
    )
    user_jwt_jwks: str = Field(
        "", description="file or https URL of the keys (a JWK set: P-256, RSA, Ed25519) that sign users' bearer tokens"
    )
    user_jwt_audience: str = Field(
        "", max_length=512, description="what the claim aud of a user's bearer token must name; empty: not looked at"
    )


def refuse_unproven_callers(settings: UserTokenSettings, *, production: bool, device_proof: DeviceProofMode) -> None:
    """In production nobody is known by a user_id alone. Raises WrongSetting."""
    if production and not settings.user_jwt_issuer and device_proof is not DeviceProofMode.ALWAYS:
        raise WrongSetting(
            "VYRIS_ENV=production needs USER_JWT_ISSUER with USER_JWT_JWKS, or DEVICE_PROOF=always: "
            "nobody is known there by a user_id alone"
        )
