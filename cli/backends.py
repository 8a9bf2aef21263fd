"""The Postgres and Redis that commands speak to: those of the settings, else those of the local stack."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from cli.console import fail
from services.mint.bouncer import Bouncer, BouncerSettings, redis_client
from services.storage.database import Database, DatabaseUnavailable, PostgresSettings
from stack.state import StateFolder


class BackendSettings(BaseSettings):
    """Where the databases are; empty means: where the local stack listed them."""

    model_config = SettingsConfigDict(env_file=".env", env_ignore_empty=True, extra="ignore")

    vyris_state_dir: Path = Field(Path(".vyris"))
    database_url: str = ""
    redis_url: str = ""

    def located(self) -> BackendSettings:
        """The same with what the local stack listed in place of what is empty."""
        listed = StateFolder(self.vyris_state_dir).read_ports()
        return self.model_copy(
            update={
                "database_url": self.database_url or listed.get("database_url", ""),
                "redis_url": self.redis_url or listed.get("redis_url", ""),
            }
        )


def database_url() -> str:
    """The libpq URI of Postgres; ends the command with a sentence where there is none."""
    url = BackendSettings().located().database_url
    if not url:
        fail("No database is known: start the local stack with `make up`, or set DATABASE_URL.")
    return url


@asynccontextmanager
async def database(*, patient: bool = False) -> AsyncIterator[Database]:
    """Postgres; `patient` for work that takes minutes. A failure ends the command with a sentence."""
    settings = PostgresSettings(database_url=database_url())
    if patient:
        settings.postgres_statement_timeout_ms, settings.postgres_call_timeout_ms = 20_000, 30_000
    try:
        async with Database.open(settings, "vyris-cli") as opened:
            yield opened
    except DatabaseUnavailable as error:
        fail(
            f"Postgres did not do it ({error.cause}): is the stack running (`make up`), "
            "is DATABASE_URL right, and is the schema migrated (`vyris migrate`)?"
        )


@asynccontextmanager
async def bouncer() -> AsyncIterator[Bouncer]:
    """Redis, as the mint service uses it."""
    url = BackendSettings().located().redis_url
    if not url:
        fail("No Redis is known: start the local stack with `make up`, or set REDIS_URL.")
    settings = BouncerSettings(redis_url=url)
    opened = Bouncer(redis_client(settings), settings)
    try:
        yield opened
    finally:
        await opened.close()
