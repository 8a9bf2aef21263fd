"""A wallet service on its own database, and the rows that mint and reforge would write."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from services.server.grpc_server.choice import servers
from services.server.runtime.background import running
from services.server.runtime.boundary import method_handlers
from services.wallet.__main__ import build
from services.wallet.settings import WalletSettings
from services.wallet.signing_setup import credentials_from
from tests.integration.wallet.apns_peer import ApnsPeer, apns_peer
from tests.integration.wallet.wallet_client import WalletClient
from vyris.device_keys import canonical_jwk, public_jwk, thumbprint

PASS_TYPE = "pass.app.vyris.membership"


@dataclass
class SeededMembership:
    id: uuid.UUID
    user_id: str
    pass_serial: uuid.UUID


@dataclass
class World:
    """The writes of the other services, each as one committed transaction."""

    connection: asyncpg.Connection
    numbers: int = field(default=0)

    async def mint(self, user_id: str = "user-1", tier: str = "genesis") -> SeededMembership:
        drop = await self.connection.fetchval(
            "INSERT INTO drops (tier, year, capacity) VALUES ($1, '2025', 999) "
            "ON CONFLICT (tier, year, environment) DO UPDATE SET capacity = 999 RETURNING id",
            tier,
        )
        self.numbers += 1
        minted = SeededMembership(uuid.uuid4(), user_id, uuid.uuid4())
        await self.connection.execute(
            "INSERT INTO memberships (id, drop_id, sequence_num, user_id, receipt_key, pass_serial) "
            "VALUES ($1, $2, $3, $4, $5, $6)",
            *(minted.id, drop, self.numbers, user_id, uuid.uuid4().bytes * 2, minted.pass_serial),
        )
        return minted

    async def enrol(self, membership: SeededMembership, device_id: str = "phone") -> ec.EllipticCurvePrivateKey:
        key = ec.generate_private_key(ec.SECP256R1())
        jwk = canonical_jwk(public_jwk(key.public_key()))
        await self.connection.execute(
            "INSERT INTO devices (membership_id, device_id, public_key, thumbprint) VALUES ($1, $2, $3, $4)",
            *(membership.id, device_id, jwk, thumbprint(jwk)),
        )
        return key

    async def revoke(self, membership: SeededMembership) -> None:
        async with self.connection.transaction():
            await self.connection.execute("UPDATE memberships SET revoked_at = now() WHERE id = $1", membership.id)
            await self.append_event(membership, "revoked")

    async def restore(self, membership: SeededMembership) -> None:
        async with self.connection.transaction():
            await self.connection.execute("UPDATE memberships SET revoked_at = NULL WHERE id = $1", membership.id)
            await self.append_event(membership, "restored")

    async def move(self, membership: SeededMembership) -> None:
        await self.append_event(membership, "moved")

    async def append_event(self, membership: SeededMembership, kind: str) -> None:
        await self.connection.execute(
            "INSERT INTO membership_events (membership_id, kind) VALUES ($1, $2)", membership.id, kind
        )


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    connection = await asyncpg.connect(database_url)
    yield World(connection)
    await connection.close()


@pytest.fixture(scope="session")
def state_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One state folder for all tests, because making its keys takes most of a second."""
    return tmp_path_factory.mktemp("wallet-state")


@pytest.fixture
def settings(database_url: str, state_dir: Path) -> WalletSettings:
    return WalletSettings(
        _env_file=None,  # type: ignore[call-arg]
        database_url=database_url,
        vyris_state_dir=state_dir,
        public_base_url="https://vyris.example",
        event_interval_ms=20,
        push_interval_ms=20,
    )


@asynccontextmanager
async def running_wallet(settings: WalletSettings) -> AsyncIterator[WalletClient]:
    """The wallet service on a free port, as its process builds it."""
    with servers("core") as make_server:
        async with build(settings) as hosted, running(hosted.background):
            server = make_server(options=[], calls_limit=1_000)
            for endpoint in hosted.endpoints:
                handlers = method_handlers(endpoint, limit_s=8)
                server.add_registered_method_handlers(endpoint.descriptor.full_name, handlers)
            port = server.add_insecure_port("127.0.0.1:0")
            await server.start()
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                yield WalletClient(channel)
            await server.stop(0)


@pytest.fixture
async def wallet(settings: WalletSettings) -> AsyncIterator[WalletClient]:
    async with running_wallet(settings) as client:
        yield client


@pytest.fixture
async def apns(tmp_path: Path, settings: WalletSettings) -> AsyncIterator[ApnsPeer]:
    """A stand-in for APNs that trusts the development chain."""
    credentials_from(settings)
    async with apns_peer(tmp_path, settings.vyris_state_dir / "keys" / "pass_root.pem") as peer:
        yield peer


@pytest.fixture
async def pushing_wallet(settings: WalletSettings, apns: ApnsPeer) -> AsyncIterator[WalletClient]:
    """The service, which pushes to `apns`."""
    with_apns = settings.model_copy(update={"apns_url": apns.origin, "apns_ca": str(apns.ca)})
    async with running_wallet(with_apns) as client:
        yield client
