"""The rules of `VYRIS_ENV=production` for all services. A process checks them before everything else.

A rule belongs to a group of settings, and applies to each service with that group. Rules for one service (its own keys,
its mail server, its kinds of receipts) are checked where that service is built.

| services | production refuses |
|---|---|
| all | `FAILPOINTS_FILE` |
| with a user in their requests | to start without `USER_JWT_ISSUER` and `USER_JWT_AUDIENCE` |
| that verify device proofs | `DEVICE_PROOF=off`, and a `PUBLIC_BASE_URL` without TLS |
"""

from __future__ import annotations

from collections.abc import Iterator

from services.identity.device_proof import DeviceProofMode, DeviceProofSettings
from services.identity.user_tokens import UserTokenSettings
from services.server.runtime.settings import ServiceSettings, WrongSetting


def refuse_development(settings: ServiceSettings) -> None:
    """Check the rules of production. Raises WrongSetting, with one sentence for each broken rule."""
    if settings.production:
        problems = list(_problems(settings))
        if problems:
            raise WrongSetting("; ".join(problems))


def _problems(settings: ServiceSettings) -> Iterator[str]:
    if settings.failpoints_file is not None:
        yield "FAILPOINTS_FILE is set, which provokes faults; VYRIS_ENV=production never does"
    if isinstance(settings, UserTokenSettings):
        yield from _without_user_tokens(settings)
    if isinstance(settings, DeviceProofSettings):
        if settings.device_proof is DeviceProofMode.OFF:
            yield "VYRIS_ENV=production refuses DEVICE_PROOF=off: a membership answers to its device"
        if not settings.public_base_url.startswith("https://"):
            yield "PUBLIC_BASE_URL must begin with https:// in production"


def _without_user_tokens(settings: UserTokenSettings) -> Iterator[str]:
    """The audience is required too, because a token for another app of the same provider names the same user."""
    wanted = {"USER_JWT_ISSUER": settings.user_jwt_issuer, "USER_JWT_AUDIENCE": settings.user_jwt_audience}
    missing = [name for name, value in wanted.items() if not value.strip()]
    if missing:
        yield (
            f"VYRIS_ENV=production needs {' and '.join(missing)}: "
            "a user_id alone, or with a device proof, proves no user"
        )
