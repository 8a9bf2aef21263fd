"""Settings of device proofs. A service that requires proofs inherits them."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings

from services.server.runtime.settings import base_url


class DeviceProofMode(StrEnum):
    """When a call on behalf of a membership needs a proof by its device."""

    WHEN_ENROLLED = "when-enrolled"
    ALWAYS = "always"
    OFF = "off"


class DeviceProofSettings(BaseSettings):
    """`DEVICE_PROOF` and `PUBLIC_BASE_URL`."""

    device_proof: DeviceProofMode = Field(
        default=DeviceProofMode.WHEN_ENROLLED,
        description="when a call for a membership needs a proof by its device: when-enrolled, always or off",
    )
    gateway_port: int = Field(3000, ge=1, le=65_535, description="HTTP port of the gateway in the local stack")
    public_base_url: str = Field(
        default_factory=lambda data: f"http://localhost:{data['gateway_port']}",
        description="URL at which callers reach the gateway; `htu` of a device proof begins with it; "
        "by default http://localhost and GATEWAY_PORT; https in production",
    )

    @field_validator("public_base_url")
    @classmethod
    def _check_base_url(cls, value: str) -> str:
        return base_url(value)
