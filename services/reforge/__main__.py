"""The reforge process: `python -m services.reforge`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pydantic import Field

from services.runtime.boundary import Endpoint
from services.runtime.process import Hosted, run
from services.runtime.settings import ServiceSettings, load
from services.storage.database import Database, PostgresSettings
from vyris.reforge.v1 import reforge_pb2


class ReforgeSettings(ServiceSettings, PostgresSettings):
    """What the reforge process needs to know."""

    reforge_port: int = Field(50054, ge=1, le=65_535, description="gRPC port of the reforge service")


class ReforgeServicer:
    """Serves health alone until its own issue fills it."""

    def __getattr__(self, name: str) -> object:
        """No method yet."""
        if name.startswith("_"):
            raise AttributeError(name)
        return None


@asynccontextmanager
async def build(settings: ReforgeSettings) -> AsyncIterator[Hosted]:
    """Everything that the reforge process serves, and its end."""
    async with Database.open(settings, "vyris-reforge") as database:
        endpoint = Endpoint(reforge_pb2.DESCRIPTOR.services_by_name["ReforgeService"], ReforgeServicer())
        yield Hosted(endpoints=[endpoint], ready=database.answers)


if __name__ == "__main__":
    reforge_settings = load(ReforgeSettings)
    run("reforge", reforge_settings, reforge_settings.reforge_port, build)
