"""Settings of draws, to be inherited by the settings of the process that serves them."""

from __future__ import annotations

from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings

RELAYS_LIMIT: Final = 16


class DrawSigningSettings(BaseSettings):
    """The key that signs promises and checkpoints."""

    draw_signing_key_file: Path | None = Field(
        None,
        description="PEM of the Ed25519 key that signs the promises and checkpoints of draws; development makes its "
        "own. Without it, production takes no entries",
    )


class DrawSettings(DrawSigningSettings):
    """How a process takes entries and draws."""

    draw_relays: str = Field(
        "https://api.drand.sh,https://api2.drand.sh,https://api3.drand.sh,https://drand.cloudflare.com",
        description="https URLs of relays of drand's quicknet, separated by commas; all are asked, and answers are "
        "verified. Empty: an operator enters rounds by hand (`vyris draw beacon`)",
    )
    draw_interval_ms: int = Field(
        500, ge=50, le=60_000, description="how often mint looks for a draw's next step: close, root, round, offers"
    )
    entry_retention_d: int = Field(
        30, ge=0, le=3_650, description="days after a draw's sale ends until users and salts of its entries are deleted"
    )

    @field_validator("draw_relays")
    @classmethod
    def _are_https(cls, value: str) -> str:
        urls = [url.strip() for url in value.split(",") if url.strip()]
        if len(urls) > RELAYS_LIMIT or not all(map(_is_https, urls)):
            raise ValueError(f"must be at most {RELAYS_LIMIT} https URLs, separated by commas")
        return ",".join(urls)

    def relay_urls(self) -> list[str]:
        """The relays one by one."""
        return [url for url in self.draw_relays.split(",") if url]


def _is_https(url: str) -> bool:
    """Whether it is an https URL of a host, without query and fragment."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme == "https" and bool(parts.hostname) and not parts.query and not parts.fragment
