"""Real encounter processes over a database, and members in it."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.forked import fork_service, wait_until_it_serves
from tests.ports import free_port
from tests.signers.encounter import Signer
from vyris.device_keys import canonical_jwk, public_jwk, thumbprint
from vyris.device_proof import METADATA_KEY
from vyris.encounter.v1 import encounter_pb2, encounter_pb2_grpc
from vyris.error_wire import from_rpc_error

SERVICE = "vyris.encounter.v1.EncounterService"
SERVING = health_pb2.HealthCheckResponse.SERVING
BASE_URL = "https://club.example"


@dataclass(frozen=True)
class Members:
    """Memberships in a drop: two live ones and a revoked one."""

    ada: str
    ben: str
    revoked: str


async def add_member(database: asyncpg.Connection, *, revoked: bool = False) -> str:
    """A membership's id."""
    drop = await database.fetchval(
        "INSERT INTO drops (tier, year, capacity) VALUES ('genesis', '2025', 1000)"
        " ON CONFLICT (tier, year, environment) DO UPDATE SET capacity = drops.capacity RETURNING id"
    )
    id_ = uuid.uuid4()
    await database.execute(
        "INSERT INTO memberships (id, drop_id, sequence_num, user_id, receipt_key, pass_serial, revoked_at)"
        " SELECT $1, $2, coalesce(max(sequence_num), 0) + 1, 'user', $3, $1, CASE WHEN $4 THEN now() END"
        " FROM memberships",
        id_,
        drop,
        os.urandom(32),
        revoked,
    )
    return str(id_)


async def enroll(database: asyncpg.Connection, membership: str, signer: Signer) -> str:
    """Make `signer`'s key the membership's active device; returns its thumbprint."""
    canonical = canonical_jwk(public_jwk(signer.key.public_key()))
    await database.execute(
        "UPDATE devices SET retired_at = now() WHERE membership_id = $1 AND retired_at IS NULL", uuid.UUID(membership)
    )
    await database.execute(
        "INSERT INTO devices (membership_id, device_id, public_key, thumbprint) VALUES ($1, 'phone', $2, $3)",
        uuid.UUID(membership),
        canonical,
        thumbprint(canonical),
    )
    return thumbprint(canonical)


def environment(database_url: str, state_dir: Path, **settings: str) -> dict[str, str]:
    """The environment of an encounter process, without this machine's own settings."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return {
        **kept,
        "DATABASE_URL": database_url,
        "VYRIS_STATE_DIR": str(state_dir),
        "PUBLIC_BASE_URL": BASE_URL,
        "ENCOUNTER_PORT": str(free_port()),
        "DRAIN_DELAY_MS": "0",
        **settings,
    }


@contextmanager
def running(*environments: dict[str, str], folder: Path, wait: bool = True) -> Iterator[list[str]]:
    """Run one encounter process for each environment; yield their targets, by default when they can serve."""
    with ExitStack() as started:
        for settings in environments:
            log = folder / f"encounter-{settings['ENCOUNTER_PORT']}.log"
            process = fork_service("encounter", settings, folder=folder, log=log)
            started.callback(process.stop)
        targets = [f"127.0.0.1:{settings['ENCOUNTER_PORT']}" for settings in environments]
        for target in targets if wait else ():
            wait_until_it_serves(SERVICE, int(target.rpartition(":")[2]))
        yield targets


class Client:
    """Calls one process over gRPC; answers are the message, or the error's reason."""

    def __init__(self, target: str) -> None:
        self._channel = grpc.aio.insecure_channel(target, [("grpc.max_reconnect_backoff_ms", 100)])
        self._stub = encounter_pb2_grpc.EncounterServiceStub(self._channel)

    async def verify(self, token: str, *, proof: str | None = None) -> encounter_pb2.Encounter | str:
        """The encounter or the reason."""
        try:
            answer = await self._stub.VerifyEncounter(
                encounter_pb2.VerifyEncounterRequest(token=token), metadata=_metadata(proof), timeout=20
            )
        except grpc.aio.AioRpcError as error:
            return reason(error)
        assert answer.status == "VERIFIED"
        return answer.encounter

    async def list(
        self, request: encounter_pb2.ListEncountersRequest, *, proof: str | None = None
    ) -> encounter_pb2.ListEncountersResponse | str:
        """The page or the reason."""
        try:
            return await self._stub.ListEncounters(request, metadata=_metadata(proof), timeout=20)
        except grpc.aio.AioRpcError as error:
            return reason(error)

    async def _health(self) -> int | None:
        health = health_pb2_grpc.HealthStub(self._channel)
        try:
            return (await health.Check(health_pb2.HealthCheckRequest(service=SERVICE), timeout=1)).status
        except grpc.aio.AioRpcError:
            return None

    async def answers(self) -> bool:
        """Whether the process answers, serving or not."""
        return await self._health() in {SERVING, health_pb2.HealthCheckResponse.NOT_SERVING}

    async def is_serving(self) -> bool:
        """Whether the process can serve."""
        return await self._health() == SERVING

    async def close(self) -> None:
        await self._channel.close()


def _metadata(proof: str | None) -> tuple[tuple[str, str], ...]:
    return ((METADATA_KEY, proof),) if proof is not None else ()


def reason(error: grpc.aio.AioRpcError) -> str:
    """The contract's name of a failed call, or gRPC's own code if it has none."""
    refusal = from_rpc_error(error.code(), error.details() or "", tuple(error.trailing_metadata() or ()))
    return refusal.reason if refusal else error.code().name
