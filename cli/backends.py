"""The Postgres and Redis of the commands: those in the settings, or else those of the local stack."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import structlog
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from admin.bouncer import Bouncer, open_bouncer
from cli.console import fail
from services.data.storage.database import Database
from services.data.storage.failures import DatabaseFailed, DatabaseUnreachable
from services.data.storage.settings import PostgresSettings
from stack.state import StateFolder, database_place

NO_RIGHT: Final = "42501"  # SQLSTATE insufficient_privilege


class BackendSettings(BaseSettings):
    """The addresses of the databases; empty: those of the local stack."""

    model_config = SettingsConfigDict(env_file=".env", env_ignore_empty=True, extra="ignore")

    vyris_state_dir: Path = Field(Path(".vyris"))
    database_url: str = ""
    redis_url: str = ""

    def with_stack_addresses(self) -> BackendSettings:
        """These settings, with the local stack's addresses in place of empty ones."""
        listed = listed_ports(self.vyris_state_dir)
        return self.model_copy(
            update={
                "database_url": self.database_url or listed.get("database_url", ""),
                "redis_url": self.redis_url or listed.get("redis_url", ""),
            }
        )


def listed_ports(state_dir: Path | None = None) -> dict[str, Any]:
    """The local stack's addresses; empty if no stack was ever started."""
    return StateFolder(state_dir or BackendSettings().vyris_state_dir).read_ports()


def is_local_database() -> bool:
    """Whether commands work on the local stack's database: the keys in the state folder belong only to that one.

    True without DATABASE_URL, and for a DATABASE_URL of the same database with another login.
    """
    url = BackendSettings().database_url
    return not url or listed_ports().get("database") == database_place(url)


def database_url() -> str:
    """The libpq URI of Postgres. Ends the command with a message if there is none."""
    url = BackendSettings().with_stack_addresses().database_url
    if not url:
        fail(no_stack("DATABASE_URL"))
    return url


@asynccontextmanager
async def database(*, patient: bool = False) -> AsyncIterator[Database]:
    """Open Postgres. `patient`: for work that takes minutes. A failure ends the command with a message."""
    _silence_services()
    settings = PostgresSettings(database_url=database_url())
    if patient:
        settings.postgres_statement_timeout_ms, settings.postgres_call_timeout_ms = 20_000, 30_000
    try:
        async with Database.open(settings, "vyris-cli") as opened:
            yield opened
    except DatabaseFailed as error:
        fail(_why_postgres_failed(error))


def _silence_services() -> None:
    """Silence the services' logs, because a command prints a message instead."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def _why_postgres_failed(error: DatabaseFailed) -> str:
    if error.cause == f"SQLSTATE {NO_RIGHT}":
        return "Postgres did not allow it: name the schema's owner in DATABASE_URL, not a service's login."
    if not isinstance(error, DatabaseUnreachable):
        return f"Postgres did not do it ({error.cause}): is its schema the newest (`vyris migrate`)?"
    if BackendSettings().database_url:
        return (
            f"The Postgres that DATABASE_URL names does not answer ({error.cause}): does it run, and is the URL right?"
        )
    return _silent("Postgres", "DATABASE_URL")


def why_redis_failed() -> str:
    """The message for a Redis that does not answer. Minting goes on without Redis."""
    if BackendSettings().redis_url:
        return "The Redis that REDIS_URL names does not answer: does it run, and is the URL right?"
    return _silent("Redis", "REDIS_URL")


def _silent(server: str, setting: str) -> str:
    """The message for a server of the local stack that does not answer: it may hang, or the stack may be stopped."""
    folder = StateFolder(BackendSettings().vyris_state_dir).root
    return (
        f"The {server} of the stack on {folder} does not answer: `vyris status` shows whether the stack runs, "
        f"`make up` starts it; {setting} would name another server."
    )


def no_stack(setting: str) -> str:
    """The message for a local stack that does not run. `setting`: the setting that names another server."""
    folder = StateFolder(BackendSettings().vyris_state_dir).root
    return f"No stack runs on {folder}: start it with `make up`, or set {setting}."


@asynccontextmanager
async def bouncer() -> AsyncIterator[Bouncer]:
    """Open Redis, as the mint service uses it."""
    url = BackendSettings().with_stack_addresses().redis_url
    if not url:
        fail(no_stack("REDIS_URL"))
    _silence_services()
    async with open_bouncer(url) as opened:
        yield opened
