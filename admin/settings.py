"""Settings that only operators' work reads."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.draw.settings import DrawSigningSettings
from services.identity.device_proof import DeviceProofSettings
from services.mint.receipts.settings import ReceiptSettings
from services.server.runtime.settings import EnvironmentSettings

# The bounds of a drop's holds; columns of `drops` have the same.
HOLD_TTL_LIMIT_S: Final = 7 * 86_400
HOLD_EXTENSIONS_LIMIT: Final = 100
HOLD_ATTEMPTS_LIMIT: Final = 1_000


class OperatorSettings(BaseSettings):
    """The address of the reforge service for operators' commands, and the certificates for it."""

    model_config = SettingsConfigDict(env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True)

    reforge_address: str = Field(
        "",
        pattern=r"^([^\s,]+:[0-9]{1,5}( *, *[^\s,]+:[0-9]{1,5})*)?$",
        description="host:port of the reforge service; the first of several is asked; empty: the local stack's",
    )
    operator_tls_ca_file: Path | None = Field(
        None, description="PEM of the authority that the reforge service's certificate must lead to; unset: plain text"
    )
    operator_tls_cert_file: Path | None = Field(None, description="PEM chain that the `vyris` command shows to reforge")
    operator_tls_key_file: Path | None = Field(None, description="PEM key of OPERATOR_TLS_CERT_FILE")

    @model_validator(mode="after")
    def _come_together(self) -> OperatorSettings:
        given = (self.operator_tls_ca_file, self.operator_tls_cert_file, self.operator_tls_key_file)
        if any(given) and not all(given):
            raise ValueError("OPERATOR_TLS_CA_FILE, OPERATOR_TLS_CERT_FILE and OPERATOR_TLS_KEY_FILE come together")
        return self


class NewHoldSettings(BaseSettings):
    """The defaults of a new drop that sells by hold."""

    model_config = SettingsConfigDict(env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True)

    hold_ttl_s: int = Field(
        600, ge=1, le=HOLD_TTL_LIMIT_S, description="how long a hold of a new drop keeps its number"
    )
    hold_extensions: int = Field(
        1, ge=0, le=HOLD_EXTENSIONS_LIMIT, description="how often a hold of a new drop can be extended"
    )
    hold_attempts: int = Field(
        2, ge=1, le=HOLD_ATTEMPTS_LIMIT, description="how many holds one person can take in a new drop"
    )


# The configuration of the last base counts, which reads `.env`.
class NewDrawSettings(DrawSigningSettings, DeviceProofSettings, EnvironmentSettings):
    """The settings of mint from which the terms of a draw are written."""


class ReconcileSettings(ReceiptSettings, EnvironmentSettings):
    """The settings of receipts, as mint reads them."""
