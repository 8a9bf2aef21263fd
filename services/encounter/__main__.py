"""The encounter process: `python -m services.encounter`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pydantic import Field

from services.runtime.boundary import Endpoint
from services.runtime.process import Hosted, run
from services.runtime.settings import ServiceSettings, load
from services.storage.database import Database, PostgresSettings
from vyris.encounter.v1 import encounter_pb2


class EncounterSettings(ServiceSettings, PostgresSettings):
    """What the encounter process needs to know."""

    encounter_port: int = Field(50052, ge=1, le=65_535, description="gRPC port of the encounter service")


class EncounterServicer:
    """Serves health alone until its own issue fills it."""

    def __getattr__(self, name: str) -> object:
        """No method yet."""
        if name.startswith("_"):
            raise AttributeError(name)
        return None


@asynccontextmanager
async def build(settings: EncounterSettings) -> AsyncIterator[Hosted]:
    """Everything that the encounter process serves, and its end."""
    async with Database.open(settings, "vyris-encounter") as database:
        endpoint = Endpoint(encounter_pb2.DESCRIPTOR.services_by_name["EncounterService"], EncounterServicer())
        yield Hosted(endpoints=[endpoint], ready=database.answers)


if __name__ == "__main__":
    encounter_settings = load(EncounterSettings)
    run("encounter", encounter_settings, encounter_settings.encounter_port, build)
