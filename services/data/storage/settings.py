"""Settings of a process's connections to Postgres."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final, Self
from urllib.parse import parse_qs, urlsplit

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings

SERVERS: Final = ("any", "primary", "standby", "prefer-standby", "read-write", "read-only")
SSL_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_HOST: Final = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^:/?#\[\]@]*)(:[0-9]{1,5})?")


def postgres_url(text: str) -> str:
    """Check a libpq URI (PostgreSQL's manual, 34.1.1.2); several hosts are separated by commas. Raises ValueError."""
    parts = urlsplit(text)
    hosts = parts.netloc.rpartition("@")[2].split(",")
    sound = parts.scheme in {"postgres", "postgresql"} and not parts.fragment and all(map(_HOST.fullmatch, hosts))
    if not sound:
        raise ValueError(
            "must be postgresql://user:password@host:port/database, with other characters of the password as %XX"
        )
    query = parse_qs(parts.query)
    if not set(query.get("target_session_attrs", [])) <= set(SERVERS):
        raise ValueError(f"its target_session_attrs must be one of {', '.join(SERVERS)}")
    modes = query.get("sslmode", [])
    if not set(modes) <= set(SSL_MODES):
        raise ValueError(f"its sslmode must be one of {', '.join(SSL_MODES)}")
    return text


class Pooler(StrEnum):
    """What stands between a service and Postgres."""

    NONE = "none"
    TRANSACTION = "transaction"


class PostgresSettings(BaseSettings):
    """Postgres' address, the most connections of a process, and the time limits."""

    database_url: str = Field(description="libpq URI of the Postgres database that all services share")
    postgres_pooler: Pooler = Field(
        Pooler.NONE,
        description="transaction: DATABASE_URL leads to a pooler such as PgBouncer in transaction mode, which sets the "
        "session's limits itself (docs/operations.md, PgBouncer)",
    )
    postgres_pool_size: int = Field(8, ge=2, le=100, description="most connections of a process")
    postgres_connect_timeout_ms: int = Field(2_000, ge=100, le=30_000, description="time to open a connection")
    postgres_lock_timeout_ms: int = Field(1_000, ge=10, le=10_000, description="time to wait for a lock")
    postgres_statement_timeout_ms: int = Field(3_000, ge=20, le=20_000, description="time for one statement")
    postgres_call_timeout_ms: int = Field(5_000, ge=50, le=30_000, description="time for one call, answer included")

    @field_validator("database_url")
    @classmethod
    def _check_url(cls, value: str) -> str:
        return postgres_url(value)

    @property
    def session(self) -> dict[str, str]:
        """What must be in force in every session: names of Postgres with their values, times in milliseconds."""
        return {
            "lock_timeout": str(self.postgres_lock_timeout_ms),
            "statement_timeout": str(self.postgres_statement_timeout_ms),
            "idle_in_transaction_session_timeout": str(self.postgres_call_timeout_ms),
            "transaction_timeout": str(self.postgres_call_timeout_ms),
            "jit": "off",
            # A plan is made while a drop's tables are small, and is still used when they have millions of rows.
            "enable_seqscan": "off",
            # Batches are small. The planner assumes that an unknown LIMIT is a tenth of the table, and would sort
            # for a merge join where a hash of a few rows is enough.
            "enable_mergejoin": "off",
        }

    @model_validator(mode="after")
    def _check_limits(self) -> Self:
        limits = (self.postgres_lock_timeout_ms, self.postgres_statement_timeout_ms, self.postgres_call_timeout_ms)
        if not limits[0] < limits[1] < limits[2]:
            raise ValueError(
                "POSTGRES_LOCK_TIMEOUT_MS must be less than POSTGRES_STATEMENT_TIMEOUT_MS, "
                "and that less than POSTGRES_CALL_TIMEOUT_MS"
            )
        return self
