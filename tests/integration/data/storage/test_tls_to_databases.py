"""The URLs of Postgres and Redis configure TLS: both sides prove themselves, and renewed certificates are read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest
from redis.asyncio import Redis

from services.data.storage.database import Database
from services.data.storage.settings import PostgresSettings
from services.mint.bouncer import Bouncer, BouncerSettings, redis_client
from stack.local import Stack
from stack.postgres import PORT
from tests.stand_ins.authority import Authority
from tests.stand_ins.tls_door import TlsDoor, tls_door


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
async def postgres_door(databases: Stack, authority: Authority) -> AsyncIterator[TlsDoor]:
    async with tls_door(databases.state.sockets / f".s.PGSQL.{PORT}", authority, asks_first=True) as door:
        yield door


@pytest.fixture
async def redis_door(databases: Stack, authority: Authority) -> AsyncIterator[TlsDoor]:
    async with tls_door(databases.state.sockets / "valkey.sock", authority, asks_first=False) as door:
        yield door


def postgres_settings(door: TlsDoor, database_url: str, **tls: Path) -> PostgresSettings:
    name = urlsplit(database_url).path
    query = urlencode({"sslmode": "verify-full", **{key: str(path) for key, path in tls.items()}})
    return PostgresSettings(database_url=f"postgresql://vyris@localhost:{door.port}{name}?{query}")


async def test_postgres_is_reached_by_mutual_tls_alone(
    database_url: str, postgres_door: TlsDoor, authority: Authority, tmp_path: Path
) -> None:
    certificate, key = authority.issue("mint", "mint")
    trusted = {"sslrootcert": authority.ca_file, "sslcert": certificate, "sslkey": key}
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    others = Authority(stranger)
    other_certificate, other_key = others.issue("mint", "mint")
    refused = (
        {"sslrootcert": authority.ca_file},
        {**trusted, "sslrootcert": others.ca_file},
        {**trusted, "sslcert": other_certificate, "sslkey": other_key},
    )
    for tls in refused:
        async with Database.open(postgres_settings(postgres_door, database_url, **tls), "test") as database:
            assert not await database.holds("pg_class")
    async with Database.open(postgres_settings(postgres_door, database_url, **trusted), "test") as database:
        assert await database.holds("pg_class")


async def test_a_renewed_certificate_is_shown_at_the_next_connection_to_postgres(
    database_url: str, postgres_door: TlsDoor, authority: Authority
) -> None:
    certificate, key = authority.issue("mint", "mint")
    trusted = {"sslrootcert": authority.ca_file, "sslcert": certificate, "sslkey": key}
    async with Database.open(postgres_settings(postgres_door, database_url, **trusted), "test") as database:
        assert await database.holds("pg_class")
        authority.issue("mint", "mint")
        # The first connection is busy, so that another is opened.
        await asyncio.gather(*(database.fetch("SELECT pg_sleep(0.3)") for _ in range(2)))
    assert len(set(postgres_door.serials)) == 2


def redis_settings(door: TlsDoor, **tls: Path) -> BouncerSettings:
    query = urlencode({key: str(path) for key, path in tls.items()})
    return BouncerSettings(redis_url=f"rediss://localhost:{door.port}/0?{query}", redis_timeout_ms=3_000)


async def reaches(settings: BouncerSettings) -> bool:
    bouncer = Bouncer(redis_client(settings), settings)
    try:
        return await bouncer.reachable()
    finally:
        await bouncer.close()


async def test_redis_is_reached_by_mutual_tls_alone(redis_door: TlsDoor, authority: Authority, tmp_path: Path) -> None:
    certificate, key = authority.issue("mint", "mint")
    trusted = {"ssl_ca_certs": authority.ca_file, "ssl_certfile": certificate, "ssl_keyfile": key}
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    assert not await reaches(redis_settings(redis_door, ssl_ca_certs=authority.ca_file))
    assert not await reaches(redis_settings(redis_door, **{**trusted, "ssl_ca_certs": Authority(stranger).ca_file}))
    assert await reaches(redis_settings(redis_door, **trusted))


async def test_a_renewed_certificate_is_shown_at_the_next_connection_to_redis(
    redis_door: TlsDoor, authority: Authority
) -> None:
    certificate, key = authority.issue("mint", "mint")
    trusted = {"ssl_ca_certs": authority.ca_file, "ssl_certfile": certificate, "ssl_keyfile": key}
    client = redis_client(redis_settings(redis_door, **trusted))
    assert isinstance(client, Redis)
    try:
        assert await client.ping()
        authority.issue("mint", "mint")
        await client.connection_pool.disconnect()
        assert await client.ping()
    finally:
        await client.aclose()
    assert len(set(redis_door.serials)) == 2
