"""The gateway's settings: from the environment, then from `.env`."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

import suite

Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(gt=0, le=3600)]
AccessLogChoice = Literal["all", "errors", "sampled"]


class Endpoint(NamedTuple):
    """The address of one replica of a service."""

    host: str
    port: int

    @property
    def is_ip(self) -> bool:
        """Whether `host` is an IP address."""
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return False
        return True


def parse_endpoints(text: str) -> list[Endpoint]:
    """Parse `host:port[,host:port…]`; an IPv6 address is in brackets. Raises ValueError."""
    endpoints = []
    for item in text.split(","):
        host, colon, port = item.strip().rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not colon or not host or "/" in host or not port.isdecimal() or not 0 < int(port) < 65536:  # noqa: PLR2004
            raise ValueError(f"{item.strip()!r} is not host:port")
        endpoints.append(Endpoint(host, int(port)))
    return endpoints


@suite.with_addresses()
class GatewaySettings(BaseSettings):
    """Settings of the gateway. Each is an environment variable of the same name in capitals."""

    model_config = SettingsConfigDict(
        env_file=".env", extra="ignore", env_ignore_empty=True, frozen=True, use_attribute_docstrings=True
    )

    gateway_listen_host: str = "127.0.0.1"
    """Address that both listeners bind; `0.0.0.0` in a container."""
    gateway_port: Port = 3000
    """JSON over HTTP."""
    gateway_grpc_port: Port = 3001
    """Native gRPC, passed through."""
    gateway_metrics_host: str = "127.0.0.1"
    """Address of the statistics listener."""
    gateway_metrics_port: Port | None = None
    """Port of the Prometheus statistics at `/metrics`. Unset: no such listener."""
    envoy_admin_port: Port = 9901
    """Envoy's admin interface, always on the loopback address."""

    gateway_concurrency: Annotated[int, Field(ge=1, le=64)] = 2
    """Worker threads of Envoy: one for each of its own cores.

    The local stack shares its cores and takes half of them.
    """
    gateway_request_timeout_s: Seconds = 10
    """From the last byte of the request to the first of the answer; services get it in `grpc-timeout`."""
    gateway_stream_idle_timeout_s: Seconds = 3600
    """How long a server stream of the gRPC listener may stay silent."""
    gateway_drain_s: Annotated[int, Field(ge=0, le=600)] = 15
    """How long open requests may take to finish after SIGTERM."""
    gateway_max_connections: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    """Most connections from callers: three quarters for JSON, a quarter for gRPC, where many calls share one."""
    gateway_address_max_connections: Annotated[int, Field(ge=1, le=1_000_000)] = 1_600
    """Most connections from one caller's address (a /64 for IPv6), three quarters for JSON and a quarter for gRPC; more
    are closed at once. Not applied behind trusted proxies (`GATEWAY_TRUSTED_HOPS`), because connections have the
    proxies' addresses. Must allow the thousand copies of one receipt that may come at once."""
    gateway_address_max_streams: Annotated[int, Field(ge=1, le=65_536)] = 64
    """Most open streams of one caller's address, at all services together; more are refused with RATE_LIMITED."""
    gateway_max_requests: Annotated[int, Field(ge=1, le=65_536)] = 1_280
    """Most requests in flight at one service; more get 503 at once. Must allow the thousand copies of one receipt that
    must all be answered. About what the service answers in half a second, which is the longest wait of a request."""
    gateway_max_streams: Annotated[int, Field(ge=1, le=65_536)] = 1_024
    """Most open streams (watches of a drop or of health) at one service; more are refused at once."""
    gateway_max_heap_bytes: Annotated[int, Field(ge=64 << 20, le=1 << 40)] = 512 << 20
    """Memory at which Envoy begins to refuse work."""
    gateway_trusted_hops: Annotated[int, Field(ge=0, le=8)] = 0
    """Number of proxies in front of the gateway with a trusted `x-forwarded-for`."""
    gateway_proxy_protocol: bool = False
    """Whether a balancer in front passes connections on and writes the caller's address before each (PROXY protocol,
    version 1 or 2). A connection without it is then closed. Only the balancer may reach the two ports."""
    gateway_rate_limit_rps: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Requests a second that one caller's address may send, on average. Unset: no limit."""
    gateway_rate_limit_burst: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """How many requests it may send at once. Unset: twice the rate."""
    gateway_cors_origins: Annotated[tuple[str, ...], NoDecode] = ()
    """Origins of pages that may call the JSON interface, separated by commas."""
    gateway_access_log_path: str = "/dev/stdout"
    """Empty (`-`): no access log."""
    gateway_access_log: AccessLogChoice = "all"
    """Which requests get a line: `all`; `errors`, answers from 500 on and broken connections; `sampled`, those and one
    in a hundred of the others. A line costs about a tenth of what the gateway spends on a small request."""
    gateway_reflection: bool | None = None
    """gRPC reflection on the native listener. Unset: only in development."""
    gateway_static_dir: Path = Path(__file__).parent / "static"
    """Folder of the pages that the gateway serves itself; see its `pages.json`."""

    gateway_tls_cert_file: Path | None = None
    """PEM chain for both listeners; with it, `GATEWAY_TLS_KEY_FILE`."""
    gateway_tls_key_file: Path | None = None
    """PEM key of `GATEWAY_TLS_CERT_FILE`."""
    gateway_upstream_ca_file: Path | None = None
    """PEM of the authority that signed the services' certificates. Unset: plain text to the services."""
    gateway_upstream_cert_file: Path | None = None
    """The gateway's own certificate for mutual TLS; with it, `GATEWAY_UPSTREAM_KEY_FILE`."""
    gateway_upstream_key_file: Path | None = None
    """PEM key of `GATEWAY_UPSTREAM_CERT_FILE`."""
    gateway_upstream_server_name: str = "{service}"
    """DNS name that a service's certificate must have; `{service}` becomes mint, encounter, …"""

    gateway_secrets_dir: Path = Path()
    """Folder for the generated files that name the certificates. Unset: the folder of the output."""

    otel_exporter_otlp_endpoint: str = ""
    """`http://host:4317` or `host:4317` of an OpenTelemetry collector (gRPC without TLS). Empty: no traces."""
    gateway_trace_percent: Annotated[float, Field(ge=0, le=100)] = 100
    """Percentage of the requests that are traced, if the caller did not decide."""

    vyris_env: Literal["development", "production"] = "development"
    """Production has no gRPC reflection."""

    @field_validator("gateway_cors_origins", mode="before")
    @classmethod
    def _split_origins(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        # Browsers send host names in lower case.
        return tuple(part.strip().lower() for part in value.split(",") if part.strip())

    @model_validator(mode="after")
    def _check(self) -> Self:
        for service in suite.NAMES:
            self.endpoints(service)
        try:
            _ = self.otlp_collector
        except ValueError as error:
            raise ValueError(f"OTEL_EXPORTER_OTLP_ENDPOINT: {error}") from None
        for origin in self.gateway_cors_origins:
            if not re.fullmatch(r"https?://([a-z0-9._-]+|\[[0-9a-f:]+\])(:[0-9]{1,5})?", origin):
                raise ValueError(f"GATEWAY_CORS_ORIGINS: {origin!r} is not scheme://host[:port]")
        for cert, key in (
            ("gateway_tls_cert_file", "gateway_tls_key_file"),
            ("gateway_upstream_cert_file", "gateway_upstream_key_file"),
        ):
            if (getattr(self, cert) is None) != (getattr(self, key) is None):
                raise ValueError(f"{cert.upper()} and {key.upper()} come together")
        try:
            self.gateway_upstream_server_name.format(service="mint")
        except (KeyError, IndexError, ValueError):
            raise ValueError("GATEWAY_UPSTREAM_SERVER_NAME: its only variable is {service}") from None
        if self.gateway_upstream_cert_file and not self.gateway_upstream_ca_file:
            raise ValueError("GATEWAY_UPSTREAM_CERT_FILE needs GATEWAY_UPSTREAM_CA_FILE")
        return self

    def endpoints(self, service: str) -> list[Endpoint]:
        """The addresses of `service` (mint, encounter, wallet, reforge)."""
        try:
            return parse_endpoints(suite.address_of(self, service))
        except ValueError as error:
            raise ValueError(f"{service.upper()}_ADDRESS: {error}") from None

    @property
    def otlp_collector(self) -> Endpoint | None:
        """The address of the trace collector, or None."""
        if not self.otel_exporter_otlp_endpoint:
            return None
        text = self.otel_exporter_otlp_endpoint.removeprefix("http://").rstrip("/")
        if "/" in text:
            raise ValueError(f"{self.otel_exporter_otlp_endpoint!r} is not http://host:port")
        return parse_endpoints(text)[0]

    @property
    def reflection(self) -> bool:
        """Whether the native listener offers gRPC reflection."""
        return self.vyris_env != "production" if self.gateway_reflection is None else self.gateway_reflection

    @property
    def burst(self) -> int:
        """Size of a caller's token bucket."""
        return self.gateway_rate_limit_burst or 2 * (self.gateway_rate_limit_rps or 1)
