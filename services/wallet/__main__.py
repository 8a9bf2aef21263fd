"""The wallet process: `python -m services.wallet`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pydantic import Field

from services.runtime.boundary import Endpoint
from services.runtime.process import Hosted, run
from services.runtime.settings import ServiceSettings, load
from services.storage.database import Database, PostgresSettings
from vyris.wallet.v1 import wallet_pb2


class WalletSettings(ServiceSettings, PostgresSettings):
    """What the wallet process needs to know."""

    wallet_port: int = Field(50053, ge=1, le=65_535, description="gRPC port of the wallet service")


class WalletServicer:
    """Serves health alone until its own issue fills it."""

    def __getattr__(self, name: str) -> object:
        """No method yet."""
        if name.startswith("_"):
            raise AttributeError(name)
        return None


@asynccontextmanager
async def build(settings: WalletSettings) -> AsyncIterator[Hosted]:
    """Everything that the wallet process serves, and its end."""
    async with Database.open(settings, "vyris-wallet") as database:
        endpoint = Endpoint(wallet_pb2.DESCRIPTOR.services_by_name["WalletService"], WalletServicer())
        yield Hosted(endpoints=[endpoint], ready=database.answers)


if __name__ == "__main__":
    wallet_settings = load(WalletSettings)
    run("wallet", wallet_settings, wallet_settings.wallet_port, build)
