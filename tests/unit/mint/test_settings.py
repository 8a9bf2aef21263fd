"""Settings that the mint process refuses."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from services.mint.bouncer import BouncerSettings
from services.mint.settings import MintSettings, PeerSettings


@pytest.mark.parametrize("addresses", ["nonsense", "wallet:", ":50053", "wallet:50053,", "wallet:50053 and more"])
def test_a_service_address_is_host_and_port(addresses: str) -> None:
    with pytest.raises(ValidationError, match="wallet_address"):
        PeerSettings(wallet_address=addresses)


@pytest.mark.parametrize("addresses", ["wallet:50053", "[::1]:50053", "10.0.0.7:1, 10.0.0.8:2"])
def test_several_addresses_are_separated_by_commas(addresses: str) -> None:
    assert PeerSettings(wallet_address=addresses).peer_addresses()["wallet"] == addresses


@pytest.mark.parametrize("url", ["http://127.0.0.1", "redis://127.0.0.1:port/0", "nonsense"])
def test_a_url_that_is_no_redis_url_is_refused(url: str) -> None:
    with pytest.raises(ValidationError, match="redis://"):
        BouncerSettings(redis_url=url)


def test_a_receipt_is_not_abandoned_while_a_call_may_still_mint_it() -> None:
    with pytest.raises(ValidationError, match="REAPER_GRACE_MS must be longer than CALL_LIMIT_MS"):
        MintSettings(
            database_url="postgresql://nobody@127.0.0.1:1/none",
            redis_url="redis://127.0.0.1:1/0",
            reaper_grace_ms=8_000,
            call_limit_ms=8_000,
        )
