"""How a client connects and sends: its limits, the calls that it retries, and what differs between the two clients."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import grpc

from vyris.client.asks import Metadata

Q = TypeVar("Q")
A = TypeVar("A")
Headers = list[tuple[str, str | bytes]]

TIMEOUT_S: Final = 10.0
"""The default time limit of one call with its retries. The gateway has the same limit."""

# The servers allow one ping every 10 s; the gateway's longest answer is 4 MiB.
_KEEPALIVE_MS: Final = 30_000
_MAX_ANSWER_BYTES: Final = 4 << 20
_MAX_REQUEST_BYTES: Final = 256 << 10
# Calls that are always safe to repeat: a receipt mints once, and a read changes nothing. Calls that may have a device
# proof are not retried here, because a proof works once. Nor are calls with another answer the second time (an
# encounter, a link's token).
_RETRIED: Final = (
    ("vyris.mint.v1.MintService", "Mint"),
    ("vyris.mint.v1.MintService", "GetDrop"),
    ("vyris.mint.v1.MintService", "WatchDrop"),
    ("vyris.reforge.v1.ReforgeService", "GetReforge"),
)


@dataclass(frozen=True)
class Tls:
    """Certificates for TLS, each as PEM. None: the system's authorities, and no client certificate."""

    root_certificates: bytes | None = None
    private_key: bytes | None = None
    certificate_chain: bytes | None = None

    def credentials(self) -> grpc.ChannelCredentials:
        """Make gRPC's credentials."""
        return grpc.ssl_channel_credentials(self.root_certificates, self.private_key, self.certificate_chain)


def service_config() -> dict[str, Any]:
    """GRPC's service config: retries inside the call's deadline, and fewer retries when most calls fail."""
    return {
        "methodConfig": [
            {
                "name": [{"service": service, "method": method} for service, method in _RETRIED],
                "retryPolicy": {
                    "maxAttempts": 4,
                    "initialBackoff": "0.1s",
                    "maxBackoff": "2s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ],
        "retryThrottling": {"maxTokens": 20, "tokenRatio": 0.2},
    }


def channel_options() -> list[tuple[str, Any]]:
    """The channel options of both clients."""
    return [
        ("grpc.service_config", json.dumps(service_config())),
        ("grpc.enable_retries", 1),
        ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.max_receive_message_length", _MAX_ANSWER_BYTES),
        ("grpc.max_send_message_length", _MAX_REQUEST_BYTES),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 5_000),
        ("grpc.primary_user_agent", "vyris-python"),
    ]


def open_channel(target: str, tls: Tls | bool, options: Sequence[tuple[str, Any]]) -> grpc.Channel:
    """Open a channel to `target`. Raises ValueError if it is a URL."""
    target, chosen, secret = native_target(target), [*channel_options(), *options], credentials(tls)
    return grpc.insecure_channel(target, chosen) if secret is None else grpc.secure_channel(target, secret, chosen)


def open_async_channel(target: str, tls: Tls | bool, options: Sequence[tuple[str, Any]]) -> grpc.aio.Channel:
    """Open a channel of the running event loop to `target`. Raises ValueError if it is a URL."""
    target, chosen, secret = native_target(target), [*channel_options(), *options], credentials(tls)
    if secret is None:
        return grpc.aio.insecure_channel(target, chosen)
    return grpc.aio.secure_channel(target, secret, chosen)


def exchange(
    method: grpc.UnaryUnaryMultiCallable[Q, A], request: Q, timeout_s: float, metadata: Metadata
) -> tuple[A, Headers]:
    """Return the answer and its initial metadata. Raises grpc.RpcError."""
    answer, call = method.with_call(request, timeout=timeout_s, metadata=metadata)
    return answer, list(call.initial_metadata())


async def exchange_async(
    method: grpc.aio.UnaryUnaryMultiCallable[Q, A], request: Q, timeout_s: float, metadata: Metadata
) -> tuple[A, Headers]:
    """Return the answer and its initial metadata. Raises grpc.RpcError."""
    call = method(request, timeout=timeout_s, metadata=metadata)
    answer = await call
    return answer, list(await call.initial_metadata())


def native_target(target: str) -> str:
    """Check and return `target`. Raises ValueError for an HTTP URL, which gRPC would look up as a host name."""
    if target.lower().startswith(("http://", "https://")):
        raise ValueError(
            "the target is host:port of the gateway's native gRPC, for example localhost:3001, and not a URL; "
            "for TLS pass tls=True"
        )
    return target


def credentials(tls: Tls | bool) -> grpc.ChannelCredentials | None:
    """Make gRPC's credentials. Return None for plain text."""
    if tls is False:
        return None
    return (Tls() if tls is True else tls).credentials()
