"""Settings of the wallet service."""

from __future__ import annotations

from pydantic import Field, SecretStr

from services.data.storage.settings import PostgresSettings
from services.identity.device_proof import DeviceProofSettings
from services.identity.user_tokens import UserTokenSettings
from services.server.runtime.settings import Secret, ServiceSettings
from suite import port_field


class PassSigningSettings(ServiceSettings):
    r"""The certificates and the key that sign passes: PEM text (newlines may be written `\n`) or paths."""

    pkpass_certificate: str = Field("", description="certificate of the pass type, from Apple")
    pkpass_key: SecretStr = Field(SecretStr(""), description="private key of that certificate")
    pkpass_passphrase: SecretStr = Field(SecretStr(""), description="passphrase of PKPASS_KEY, if it is encrypted")
    pkpass_wwdr: str = Field("", description="Apple's intermediate: Worldwide Developer Relations - G4")
    pass_type_identifier: str = Field(
        "pass.app.vyris.membership",
        pattern=r"^pass\.[A-Za-z0-9.-]{1,100}$",
        description="pass type, as registered with Apple",
    )
    pass_team_identifier: str = Field(
        "VYRISDEV01", pattern=r"^[A-Za-z0-9]{1,32}$", description="id of the Apple team that owns the pass type"
    )
    pass_organization_name: str = Field("VYRIS", min_length=1, max_length=64, description="issuer's name on the pass")


class PushSettings(PassSigningSettings):
    """Settings of the pushes to phones."""

    apns_url: str = Field(
        "",
        pattern=r"^(https://[^/?#:]+(:[0-9]{1,5})?)?$",
        description="APNs origin; empty: Apple's, or none while passes are signed by the development chain",
    )
    apns_ca: str = Field("", description="file of CA certificates for APNS_URL, instead of the system's")
    push_interval_ms: int = Field(500, ge=10, le=60_000, description="how often the outbox of pushes is polled")
    push_attempt_limit: int = Field(20, ge=1, le=30, description="attempts before a push is given up")


class GoogleWalletSettings(ServiceSettings):
    """Google Wallet's issuer account. Without the first two settings there are no Google links."""

    google_wallet_issuer_id: str = Field("", pattern=r"^[0-9]{0,20}$", description="issuer id of the Google account")
    google_wallet_service_account: SecretStr = Field(
        SecretStr(""), description="the service account's key: JSON text, or the path of its file"
    )
    google_wallet_class: str = Field(
        "vyris-membership", pattern=r"^[A-Za-z0-9._-]{1,64}$", description="suffix of the generic class"
    )


class WalletSettings(UserTokenSettings, DeviceProofSettings, PostgresSettings, GoogleWalletSettings, PushSettings):
    """Settings of the wallet process."""

    wallet_port: int = port_field("wallet")
    pass_auth_key: Secret = Field(
        SecretStr(""), description="secret of 32 characters or more that the tokens in passes are derived from"
    )
    pass_auth_key_second: Secret = Field(
        SecretStr(""),
        description="a second key whose tokens are accepted: the next or the previous one, while PASS_AUTH_KEY is "
        "replaced (docs/operations.md, Replacing keys)",
    )
    pass_web_service: bool = Field(
        True, description="whether passes name their web service; only if PUBLIC_BASE_URL is https"
    )
    pass_queue_limit: int = Field(
        256, ge=1, le=4_096, description="passes that are being issued, before shedding; most wait for their signature"
    )
    event_interval_ms: int = Field(500, ge=10, le=60_000, description="how often membership_events is read")
