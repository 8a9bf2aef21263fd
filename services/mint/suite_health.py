"""The suite's health, as one answer for `GET /health`.

The mint process asks the other three services for their readiness every second. The answer also contains its own
readiness and Redis' state.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import grpc
import structlog
from google.api.httpbody_pb2 import HttpBody
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.server.runtime.call import Call
from services.server.runtime.tls import Certificates
from vyris.errors import Retryable
from vyris.suite.v1 import suite_pb2

INTERVAL_S: Final = 1.0
ANSWER_LIMIT_S: Final = 0.8
# Less than ANSWER_LIMIT_S: if one replica hangs, the answers of the others still count.
REPLICA_LIMIT_S: Final = 0.6

Probe = Callable[[], Awaitable[bool]]

log = structlog.get_logger(__name__)


class PeersProbe:
    """Asks the replicas of another service. The service can serve while one of them can."""

    def __init__(self, addresses: str, service: str, certificates: Certificates | None = None) -> None:
        """`addresses` is `host:port[,host:port…]`, `service` the full service name."""
        self._replicas = [PeerProbe(address.strip(), service, certificates) for address in addresses.split(",")]

    async def __call__(self) -> bool:
        """Whether at least one replica can serve."""
        return any(await asyncio.gather(*(replica() for replica in self._replicas)))

    def close(self) -> None:
        """Close the channels."""
        for replica in self._replicas:
            replica.close()


class PeerProbe:
    """Asks one replica's gRPC health.

    Uses a blocking channel, in a thread: `grpc.aio` would keep a thread that always waits for gRPC core, and takes
    every other event from the server's thread (services/server/grpc_server).
    """

    def __init__(self, address: str, service: str, certificates: Certificates | None = None) -> None:
        """`address` as gRPC names targets, `service` the full service name; with certificates, over mutual TLS."""
        self._address = address
        self._certificates = certificates
        self._request = health_pb2.HealthCheckRequest(service=service)
        # The certificate's name: `wallet` for vyris.wallet.v1.WalletService.
        self._name = service.split(".")[1]
        self._channel = self._open()

    def _open(self) -> grpc.Channel:
        # Find a restarted peer within a second, not after gRPC's growing backoff.
        options: list[tuple[str, int | str]] = [("grpc.max_reconnect_backoff_ms", 1_000)]
        if self._certificates is None:
            return grpc.insecure_channel(self._address, options)
        options.append(("grpc.ssl_target_name_override", self._name))
        return grpc.secure_channel(self._address, self._certificates.channel_credentials(), options)

    async def __call__(self) -> bool:
        """Whether the replica can serve."""
        if self._certificates is not None and self._certificates.renewed():
            self._channel.close()
            self._channel = self._open()
        health = health_pb2_grpc.HealthStub(self._channel)  # type: ignore[no-untyped-call]
        try:
            answer = await asyncio.to_thread(health.Check, self._request, timeout=REPLICA_LIMIT_S)
        except grpc.RpcError:
            return False
        serving: bool = answer.status == health_pb2.HealthCheckResponse.SERVING
        return serving

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()


async def _ask(probe: Probe) -> bool:
    """The answer of a probe; False if it hangs or fails."""
    try:
        return await asyncio.wait_for(probe(), ANSWER_LIMIT_S)
    except TimeoutError:
        return False
    except Exception:
        log.exception("probe_failed")
        return False


class SuiteHealth:
    """Serves `vyris.suite.v1.SuiteService`."""

    def __init__(self, services: Mapping[str, Probe], redis: Probe) -> None:
        """`services`: the probes by the service's name."""
        self._services = services
        self._redis = redis
        self._serving = dict.fromkeys(services, False)
        self._redis_answers = False

    async def look(self) -> None:
        """Ask every service and Redis once."""
        redis, *answers = await asyncio.gather(_ask(self._redis), *map(_ask, self._services.values()))
        self._redis_answers = redis
        self._serving = dict(zip(self._services, answers, strict=True))

    async def get_health(self, request: suite_pb2.GetHealthRequest, call: Call) -> HttpBody:  # noqa: ARG002
        """Raises Retryable (503) while any of the four cannot serve."""
        if not all(self._serving.values()):
            raise Retryable("The suite cannot serve", http_status=503)
        status = "ok" if self._redis_answers else "degraded"
        body = {"status": status, "redis": "serving" if self._redis_answers else "unreachable"}
        return HttpBody(content_type="application/json", data=json.dumps(body).encode())
