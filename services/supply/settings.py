"""Settings of numbers that are held and come back, to be inherited by the settings of the process that serves holds."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings


class HoldSettings(BaseSettings):
    """How a process takes numbers back, and for how long person keys are kept."""

    hold_grace_s: float = Field(
        60.0, ge=0.0, le=3_600.0, description="how long after its time a hold can still be paid for"
    )
    hold_lapse_interval_ms: int = Field(
        1_000, ge=50, le=60_000, description="how often holds whose time is over are looked for"
    )
    person_key_retention_d: int = Field(
        30, ge=0, le=3_650, description="days after a drop's close until its person keys and their secret are destroyed"
    )
