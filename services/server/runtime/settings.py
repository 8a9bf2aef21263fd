"""Settings that all services share, and how a process loads its settings.

Values come from the environment, then from `.env`. A wrong value ends the process with a message that names the
setting.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

S = TypeVar("S", bound=BaseSettings)

UNREADABLE_DOTENV = "the file .env is not text in UTF-8"
EXIT_CONFIGURATION = 78  # sysexits.h EX_CONFIG
EXIT_PORT_TAKEN = 69  # sysexits.h EX_UNAVAILABLE


SHORTEST_SECRET = 32
"""The least number of characters of a secret; as hexadecimal digits these are 128 bits."""


def _check_length(secret: SecretStr) -> SecretStr:
    if 0 < len(secret.get_secret_value()) < SHORTEST_SECRET:
        raise ValueError(f"must be {SHORTEST_SECRET} characters or more (`openssl rand -hex 32` makes one)")
    return secret


Secret = Annotated[SecretStr, AfterValidator(_check_length)]
"""The type of a setting with a secret; it may be empty."""


class EnvironmentSettings(BaseSettings):
    """Whether this is production, and where the local stack keeps its files."""

    model_config = SettingsConfigDict(env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True)

    vyris_env: Literal["development", "production"] = Field(
        "development", description="production refuses every development convenience"
    )
    vyris_state_dir: Path = Field(Path(".vyris"), description="where the local stack keeps keys, mail, logs and data")

    @field_validator("vyris_state_dir")
    @classmethod
    def _expand_home(cls, value: Path) -> Path:
        return expanded(value)

    @property
    def production(self) -> bool:
        """Whether `VYRIS_ENV` is production."""
        return self.vyris_env == "production"


class ServiceSettings(EnvironmentSettings):
    """Settings of all four processes."""

    listen_host: str = Field("127.0.0.1", description="address that the gRPC and metrics ports listen on")
    metrics_port: int = Field(0, ge=0, le=65_535, description="Prometheus metrics over HTTP; 0 switches them off")
    health_port: int = Field(
        0, ge=0, le=65_535, description="a second port that serves only gRPC health, without TLS, for probes; 0: none"
    )
    server_tls_cert_file: Path | None = Field(
        None, description="PEM chain of the gRPC port, issued for the service's name; read again when it changes"
    )
    server_tls_key_file: Path | None = Field(None, description="PEM key of SERVER_TLS_CERT_FILE")
    server_tls_client_ca_file: Path | None = Field(
        None, description="PEM of the authority that must have issued the callers' certificates (mutual TLS)"
    )
    server_tls_client_names: str = Field(
        "",
        pattern=r"^[\x21-\x7e ]*$",
        description="names of client certificates (DNS names and URIs, separated by commas) that may call this "
        "service, such as the gateway's. Every certificate of the authority may call health. Needed in production with "
        "SERVER_TLS_CLIENT_CA_FILE; empty: the whole authority",
    )
    otel_exporter_otlp_endpoint: str = Field(
        "",
        pattern=r"^((http://)?[^/\s]+:[0-9]+/?)?$",
        description="`http://host:4317` or `host:4317` of an OpenTelemetry collector (gRPC without TLS). "
        "Empty: no traces",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="least level that is logged")
    call_limit_ms: int = Field(
        8_000,
        ge=50,
        le=60_000,
        description="longest time for a mint, a hold, an entry or an encounter; a caller may set a shorter one",
    )
    grpc_server: Literal["core", "aio"] = Field(
        "core",
        description="what serves gRPC: `core` is our own server, `aio` the one of grpcio's public interface, which "
        "needs more CPU and works with every release of grpcio",
    )
    concurrent_calls_limit: int = Field(4_096, ge=16, le=65_536, description="calls in flight in one process")
    drain_delay_ms: int = Field(
        200, ge=0, le=60_000, description="after SIGTERM: time for the gateway to notice before calls are refused"
    )
    failpoints_file: Path | None = Field(
        None, description="file of faults for tests (see services/server/failpoints); production refuses it"
    )
    drain_limit_ms: int = Field(10_000, ge=100, le=120_000, description="after SIGTERM: time for calls in flight")


class WrongSetting(Exception):
    """A setting with a valid form that the process cannot work with. The message says what to do."""


def expanded(path: Path) -> Path:
    """Replace `~` and `~user` by the home folder. Raises ValueError."""
    try:
        return path.expanduser()
    except RuntimeError:
        raise ValueError("begins with a home folder that there is not") from None


def base_url(text: str) -> str:
    """Check a base URL and remove its last slash. Raises ValueError if a path cannot be appended to it."""
    if not text.startswith(("http://", "https://")) or "?" in text or "#" in text:
        raise ValueError("must be an http or https URL without query or fragment")
    return text.rstrip("/")


def load(settings_class: type[S]) -> S:
    """Load the settings of this process. If some are wrong, print a sentence for each and exit with status 78."""
    try:
        return settings_class()
    except ValidationError as failure:
        for sentence in wrong_settings(failure, settings_class):
            sys.stderr.write(f"{sentence}\n")
        raise SystemExit(EXIT_CONFIGURATION) from None
    except UnicodeDecodeError:
        sys.stderr.write(f"{UNREADABLE_DOTENV}\n")
        raise SystemExit(EXIT_CONFIGURATION) from None


def wrong_settings(failure: ValidationError, settings_class: type[BaseSettings] | None = None) -> list[str]:
    """A sentence for each wrong setting: its name, what is wrong, and its purpose if the class is known."""
    sentences = []
    for problem in failure.errors(include_input=False, include_url=False):
        # A default that depends on another wrong setting, which has its own sentence.
        if problem["type"] == "default_factory_not_called":
            continue
        name = "_".join(str(part) for part in problem["loc"])
        field = settings_class.model_fields.get(name) if settings_class else None
        purpose = f" ({field.description})" if field and field.description else ""
        message = problem["msg"].removeprefix("Value error, ")
        is_from_file = problem["type"] != "missing" and name.upper() not in os.environ and Path(".env").exists()
        where = " in .env" if is_from_file else ""
        sentences.append(f"setting {name.upper()}{where}: {message}{purpose}" if name else f"settings: {message}")
    return sentences
