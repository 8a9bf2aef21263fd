"""Settings of the mint service."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

import suite
from services.data.storage.settings import PostgresSettings
from services.draw.settings import DrawSettings
from services.identity.device_proof import DeviceProofSettings
from services.identity.user_tokens import UserTokenSettings
from services.mint.bouncer import BouncerSettings
from services.mint.drops import CAPACITY_LIMIT
from services.mint.receipts.settings import ReceiptSettings
from services.server.runtime.fields import TIER, YEAR
from services.server.runtime.settings import ServiceSettings
from services.supply.settings import HoldSettings

Addresses = Annotated[str, Field(pattern=r"^([^\s,]+:[0-9]{1,5}( *, *[^\s,]+:[0-9]{1,5})*)?$")]


class DefaultDropSettings(BaseSettings):
    """The drop of requests that name none, and how the local stack creates it."""

    model_config = SettingsConfigDict(env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True)

    drop_tier: str = Field("genesis", pattern=TIER.pattern, description="tier of the default drop")
    drop_year: str = Field("2025", pattern=YEAR.pattern, description="year of the default drop")
    drop_capacity: int = Field(
        999, ge=0, le=CAPACITY_LIMIT, description="numbers in the default drop; an existing drop is never changed"
    )


@suite.with_addresses(suite.peers_of("mint"), form=Addresses)
class PeerSettings(BaseSettings):
    """The addresses of the other services, for `GET /health`."""

    def peer_addresses(self) -> dict[str, str]:
        """`host:port[,host:port…]` of each, by its name."""
        return {peer.name: suite.address_of(self, peer.name) for peer in suite.peers_of("mint")}


class MintSettings(
    UserTokenSettings,
    DeviceProofSettings,
    ReceiptSettings,
    BouncerSettings,
    PostgresSettings,
    DefaultDropSettings,
    HoldSettings,
    DrawSettings,
    PeerSettings,
    ServiceSettings,
):
    """All settings of the mint process."""

    mint_port: int = suite.port_field("mint")
    mint_queue_limit: int = Field(4_096, ge=1, le=65_536, description="requests that wait for a drop before shedding")
    mint_batch_limit: int = Field(256, ge=1, le=1_024, description="receipts in one batch")
    recount_interval_ms: int = Field(2_000, ge=50, le=60_000, description="how often Redis' counts are put right")
    reaper_grace_ms: int = Field(
        60_000,
        ge=1_000,
        le=3_600_000,
        description="how long a receipt is PENDING before it is abandoned; longer than CALL_LIMIT_MS",
    )
    reaper_interval_ms: int = Field(
        5_000, ge=100, le=600_000, description="how often abandoned receipts are looked for"
    )

    @model_validator(mode="after")
    def _reaps_no_call_under_way(self) -> Self:
        if self.reaper_grace_ms <= self.call_limit_ms:
            raise ValueError(
                "REAPER_GRACE_MS must be longer than CALL_LIMIT_MS, or receipts are abandoned while they mint"
            )
        return self
