"""Settings of the local stack, from the environment and then from `.env`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

import suite
from services.data.storage.settings import postgres_url


class StateSettings(BaseSettings):
    """The stack's state folder. It is enough to show and stop a stack, even if other settings are wrong."""

    model_config = SettingsConfigDict(
        env_file=".env", env_file_encoding="utf-8", extra="ignore", env_ignore_empty=True, use_attribute_docstrings=True
    )

    vyris_state_dir: Path = Path(".vyris")


@suite.with_ports()
@suite.with_replicas
class StackSettings(StateSettings):
    """The stack's ports and replicas. All other environment variables go to the services unchanged."""

    gateway_port: int = Field(default=3000, ge=1, le=65535)
    gateway_grpc_port: int = Field(default=3001, ge=1, le=65535)
    database_url: str = ""
    redis_url: str = ""
    smtp_url: str = ""
    vyris_env: Literal["development", "production"] = "development"

    gateway_tls_cert_file: Path | None = None
    server_tls_cert_file: Path | None = None

    @field_validator("gateway_tls_cert_file", "server_tls_cert_file")
    @classmethod
    def _is_not_set(cls, value: Path | None) -> Path | None:
        if value is not None:
            raise ValueError("the local stack uses plain text; TLS is for a deployment (deploy/README.md)")
        return value

    @field_validator("database_url")
    @classmethod
    def _is_postgres(cls, url: str) -> str:
        return postgres_url(url) if url else url

    def fixed_ports(self) -> dict[str, int]:
        """The ports that callers know, by their setting."""
        names = ("gateway_port", "gateway_grpc_port", *(f"{name}_port" for name in suite.NAMES))
        return {name.upper(): getattr(self, name) for name in names}

    def replicas(self, service: str) -> int:
        """The number of processes of a service."""
        return int(getattr(self, f"{service}_replicas"))
