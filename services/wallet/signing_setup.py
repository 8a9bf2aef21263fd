"""Read the signing credentials from the settings: Apple's certificate, or in development our own."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from services.server.runtime.settings import WrongSetting
from services.wallet import metrics
from services.wallet.certificates import (
    CertificateProblem,
    check_credentials,
    is_development,
    load_credentials,
    read_setting,
)
from services.wallet.development_certificates import development_credentials
from services.wallet.pass_json import PassIssuer
from services.wallet.pass_tokens import PassTokens, development_key
from services.wallet.settings import PassSigningSettings, WalletSettings
from services.wallet.signing import SigningCredentials


def keys_folder(settings: PassSigningSettings) -> Path:
    """The folder of the development keys."""
    return settings.vyris_state_dir / "keys"


def credentials_from(settings: PassSigningSettings) -> SigningCredentials:
    """The signing credentials, checked against pass type and team. Raises WrongSetting, which names the field."""
    given = {
        "PKPASS_CERTIFICATE": settings.pkpass_certificate,
        "PKPASS_KEY": settings.pkpass_key.get_secret_value(),
        "PKPASS_WWDR": settings.pkpass_wwdr,
    }
    missing = [name for name, value in given.items() if not value]
    try:
        if not missing:
            return _from_apple(settings, given)
        if settings.production or len(missing) < len(given):
            raise WrongSetting(f"{' and '.join(missing)} must be set: passes are signed with all three")
        return development_credentials(
            keys_folder(settings),
            pass_type_identifier=settings.pass_type_identifier,
            team_identifier=settings.pass_team_identifier,
        )
    except CertificateProblem as problem:
        raise WrongSetting(str(problem)) from None


def _from_apple(settings: PassSigningSettings, given: dict[str, str]) -> SigningCredentials:
    contents = {name: read_setting(name, value) for name, value in given.items()}
    credentials = load_credentials(
        certificate=contents["PKPASS_CERTIFICATE"],
        private_key=contents["PKPASS_KEY"],
        passphrase=settings.pkpass_passphrase.get_secret_value() or None,
        intermediate=contents["PKPASS_WWDR"],
    )
    check_credentials(
        credentials,
        pass_type_identifier=settings.pass_type_identifier,
        team_identifier=settings.pass_team_identifier,
        now=datetime.now(UTC),
        allow_development=not settings.production,
    )
    return credentials


def tokens_from(settings: WalletSettings) -> PassTokens:
    """The maker of the passes' tokens. Raises WrongSetting."""
    key = settings.pass_auth_key.get_secret_value()
    if not key and settings.production:
        raise WrongSetting("PASS_AUTH_KEY is not set; production generates no keys")
    second = settings.pass_auth_key_second.get_secret_value()
    return PassTokens(key or development_key(keys_folder(settings)), second)


def web_service_url(settings: WalletSettings) -> str | None:
    """The URL of the web service in passes. Apple Wallet accepts only https, so None for other URLs."""
    if settings.pass_web_service and settings.public_base_url.startswith("https://"):
        return settings.public_base_url + "/"
    return None


def issuer_from(settings: WalletSettings) -> PassIssuer:
    """The issuer that passes name."""
    return PassIssuer(
        pass_type_identifier=settings.pass_type_identifier,
        team_identifier=settings.pass_team_identifier,
        organization_name=settings.pass_organization_name,
        web_service_url=web_service_url(settings),
    )


def announce_expiry(credentials: SigningCredentials) -> None:
    """Set the metric of the certificates' expiry, so that an operator renews them in time."""
    until = min(credentials.certificate.not_valid_after_utc, credentials.intermediate.not_valid_after_utc)
    metrics.CERTIFICATE_EXPIRY.set(until.timestamp())


def apns_origin(settings: WalletSettings, credentials: SigningCredentials) -> str | None:
    """The origin of the push service. None for the development chain, which Apple does not accept."""
    if settings.apns_url:
        return settings.apns_url
    return None if is_development(credentials.intermediate) else "https://api.push.apple.com"
