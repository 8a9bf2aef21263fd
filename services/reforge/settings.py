"""Settings of the reforge service."""

from __future__ import annotations

from email.headerregistry import Address
from email.utils import parseaddr
from typing import Final, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from services.data.storage.settings import PostgresSettings
from services.identity.device_proof import DeviceProofSettings
from services.identity.user_tokens import UserTokenSettings
from services.reforge.smtp import is_smtp_url
from services.reforge.tokens import TokenKey, development_secret
from services.server.runtime.fields import email_address
from services.server.runtime.settings import Secret, ServiceSettings, WrongSetting, base_url
from suite import port_field

# The owner needs time to open the mailbox: a day has a morning and an evening in every time zone. With less, an
# attacker who persuades an operator can get a change that takes effect while the owner sleeps.
EMAIL_DELAY_FLOOR_H: Final = 24


class ReforgeSettings(UserTokenSettings, DeviceProofSettings, PostgresSettings, ServiceSettings):
    """Settings of the reforge process."""

    reforge_port: int = port_field("reforge")
    reforge_base_url: str = Field(
        default_factory=lambda data: data["public_base_url"],
        description="base URL of the links in mails; by default PUBLIC_BASE_URL; https in production",
    )
    reforge_from_email: str = Field(
        "VYRIS <no-reply@vyris.localhost>", description="sender of the mails: address, or name <address>"
    )
    reforge_token_key: Secret = Field(
        SecretStr(""),
        description="secret of 32 characters or more that tokens are derived from; made on first run in development",
    )
    reforge_token_key_second: Secret = Field(
        SecretStr(""),
        description="a second key that tokens may have been derived from: the next or the previous one, while "
        "REFORGE_TOKEN_KEY is replaced (docs/operations.md, Replacing keys)",
    )
    reforge_ttl_s: int = Field(1_800, ge=60, le=86_400, description="how long a link can be used")
    reforge_undo_h: int = Field(24, ge=1, le=168, description="hours for which a confirmed move can be undone")
    reforge_email_delay_h: int = Field(
        72,
        ge=0,
        le=720,
        description="hours before a change of address takes effect, whether a device or an operator asks; in "
        "production 24 at least",
    )
    reforge_operator_names: str = Field(
        "",
        pattern=r"^[\x21-\x7e ]*$",
        description="names of client certificates (DNS names and URIs, separated by commas) that may change an owner's "
        "address as an operator; list them in SERVER_TLS_CLIENT_NAMES too. Empty: no caller in production, every "
        "caller elsewhere",
    )
    reforge_code: Literal["", "on", "off"] = Field(
        "", description="whether unproven requests need the new device's code; by default on in production"
    )
    reforge_unproven_limit: int = Field(6, ge=1, le=1_000, description="unproven requests an hour for a membership")
    reforge_proven_limit: int = Field(12, ge=1, le=1_000, description="proven requests an hour for a membership")
    reforge_address_limit: int = Field(
        30,
        ge=1,
        le=10_000,
        description="requests an hour of all memberships that verified one address, unproven and proven each",
    )
    reforge_email_limit: int = Field(
        5, ge=1, le=1_000, description="changes of address an hour that a membership's device may ask for"
    )
    reforge_retention_d: int = Field(
        365, ge=8, le=3_650, description="days for which requests, and the addresses in them, are kept"
    )
    smtp_url: str = Field(
        "", description="smtps://, smtp+starttls:// or smtp:// with user:password@host:port; empty: mail waits"
    )
    mail_poll_ms: int = Field(1_000, ge=50, le=60_000, description="how often the outbox is polled")
    mail_timeout_ms: int = Field(20_000, ge=500, le=60_000, description="time limit for sending one mail")
    mail_lease_ms: int = Field(
        60_000, ge=1_000, le=600_000, description="after this, a mail claimed by a dead process is claimed again"
    )
    mail_retry_ms: int = Field(1_000, ge=50, le=60_000, description="pause after a first failure; doubles each time")
    mail_retry_limit_ms: int = Field(60_000, ge=100, le=3_600_000, description="longest pause between attempts")
    mail_retention_d: int = Field(7, ge=1, le=365, description="days for which sent mail stays in the outbox")

    @field_validator("reforge_base_url")
    @classmethod
    def _check_base_url(cls, value: str) -> str:
        return base_url(value)

    @field_validator("reforge_from_email")
    @classmethod
    def _check_sender(cls, value: str) -> str:
        sender_of(value)
        return value

    @field_validator("smtp_url")
    @classmethod
    def _check_smtp_url(cls, value: str) -> str:
        if value and not is_smtp_url(value):
            raise ValueError("must be smtps://host, smtp+starttls://host or smtp://host, with a port where not usual")
        return value

    @model_validator(mode="after")
    def _check_lease(self) -> Self:
        if self.mail_lease_ms <= self.mail_timeout_ms:
            raise ValueError("MAIL_LEASE_MS must be longer than MAIL_TIMEOUT_MS, or mails are sent twice")
        return self

    @model_validator(mode="after")
    def _check_retention(self) -> Self:
        if self.reforge_retention_d * 24 < 2 * self.reforge_email_delay_h:
            raise ValueError(
                "REFORGE_RETENTION_D must be at least twice REFORGE_EMAIL_DELAY_H, or recoveries are forgotten"
            )
        return self

    @property
    def code_required(self) -> bool:
        """Whether unproven requests need the code that the new device shows."""
        return self.reforge_code == "on" or (self.reforge_code == "" and self.production)

    def refuse_conveniences(self) -> None:
        """Check production's rules for this service, besides `services.server.production`. Raises `WrongSetting`."""
        if not self.production:
            return
        if not self.reforge_token_key.get_secret_value():
            raise WrongSetting("REFORGE_TOKEN_KEY is not set; production generates no keys")
        if not self.reforge_base_url.startswith("https://"):
            raise WrongSetting("REFORGE_BASE_URL must begin with https:// in production")
        if self.smtp_url.startswith("smtp://") or not self.smtp_url:
            raise WrongSetting("SMTP_URL must begin with smtps:// or smtp+starttls:// in production")
        if self.reforge_email_delay_h < EMAIL_DELAY_FLOOR_H:
            raise WrongSetting(
                f"REFORGE_EMAIL_DELAY_H must be {EMAIL_DELAY_FLOOR_H} or more in production: the owner needs the time "
                "to read the notice and to stop the change"
            )
        if sender_of(self.reforge_from_email).domain.endswith("localhost"):
            raise WrongSetting("REFORGE_FROM_EMAIL must be an address of yours in production")


def token_key(settings: ReforgeSettings) -> TokenKey:
    """The key that tokens are derived from. Development makes it on the first run; production requires it."""
    secret = settings.reforge_token_key.get_secret_value()
    second = settings.reforge_token_key_second.get_secret_value().encode()
    if secret:
        return TokenKey(secret.encode(), second)
    settings.refuse_conveniences()
    return TokenKey(development_secret(settings.vyris_state_dir / "keys"), second)


def sender_of(text: str) -> Address:
    """Parse `name <address>` or `address`; a domain in another script becomes IDNA. Raises ValueError.

    Mail servers refuse all mail with an invalid sender, so the process must not start with one.
    """
    wrong = "must be an address in ASCII that every mail server takes, or a name <address>"
    whole = text.strip()
    name, written = parseaddr(whole)
    # The library accepts more than the two forms: the first address of a list, and comments.
    if not whole.isprintable() or not (whole == written or whole.endswith(f"<{written}>")):
        raise ValueError(wrong)
    try:
        return Address(display_name=name, addr_spec=email_address(written))
    except Exception as problem:
        raise ValueError(wrong) from problem
