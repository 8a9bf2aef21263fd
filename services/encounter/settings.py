"""Settings of the encounter service."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from services.data.storage.settings import PostgresSettings
from services.identity.device_proof import DeviceProofSettings
from services.server.runtime.settings import ServiceSettings
from suite import port_field


class AuthoritySettings(ServiceSettings):
    """The keys that sign encounter tokens; `vyris dev encounter-token` needs only these."""

    encounter_jwt_public_key: str = Field(
        "",
        description="keys that sign encounter tokens: one or more PEM blocks (newlines may be written \\n), "
        "or a JWKS for rotation by kid; empty in development: a generated key",
    )


class EncounterSettings(DeviceProofSettings, PostgresSettings, AuthoritySettings):
    """Settings of the encounter process."""

    encounter_port: int = port_field("encounter")
    encounter_device_keys: Literal["on", "off"] = Field(
        "off", description="whether enrolled devices may sign encounter tokens, with the receiver's device proof"
    )
    encounter_jwt_typ: Literal["optional", "required"] = Field(
        "optional", description="whether the header of an encounter token must say typ vyris-encounter+jwt"
    )
    encounter_max_age_s: int = Field(300, ge=1, le=86_400, description="how old an encounter token may be")
    encounter_clock_leeway_s: int = Field(
        5, ge=0, le=60, description="how far a signer's clock may be ahead of Postgres' clock"
    )
    encounter_max_lifetime_s: int = Field(
        3_600, ge=1, le=86_400, description="longest time from iat to exp; a token with a longer one is refused"
    )
    encounter_queue_limit: int = Field(4_096, ge=1, le=65_536, description="tokens that wait before shedding")
    encounter_batch_limit: int = Field(256, ge=1, le=1_024, description="tokens in one batch")
    encounter_location_retention_days: int = Field(
        30, ge=0, le=3_650, description="days after which an encounter's location is deleted; 0: none is stored"
    )
