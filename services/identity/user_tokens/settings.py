"""Settings of user tokens. A service with a `user_id` in its requests inherits them."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings


class UserTokenSettings(BaseSettings):
    """`USER_JWT_ISSUER`, `USER_JWT_JWKS`, `USER_JWT_AUDIENCE`."""

    user_jwt_issuer: str = Field(
        "",
        max_length=512,
        description="the claim iss of users' bearer tokens; with it, calls that name a user_id need such a token; "
        "required in production",
    )
    user_jwt_jwks: str = Field(
        "", description="file or https URL of the keys (a JWK set: P-256, RSA, Ed25519) that sign users' bearer tokens"
    )
    user_jwt_audience: str = Field(
        "",
        max_length=512,
        description="name that the claim aud of a user's bearer token must contain; required in production, "
        "elsewhere empty means that aud is not checked",
    )
