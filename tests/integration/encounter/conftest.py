"""Two encounter processes on one database: one with defaults, one where devices sign and lists need no proof."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest

from services.encounter.development_key import development_key
from stack.local import Stack
from tests.fresh_database import fresh_database
from tests.signers.encounter import Signer
from tests.stand_ins.encounter_service import Client, Members, add_member, environment, running


@pytest.fixture(scope="session")
async def encounter_database_url(database_template: Stack) -> AsyncIterator[str]:
    """A database that the encounter processes of this run share."""
    async with fresh_database(database_template.database_url) as url:
        yield url


@pytest.fixture(scope="session")
def encounter_state() -> Iterator[Path]:
    """The state folder in which the processes make their key."""
    with tempfile.TemporaryDirectory(prefix="vyris-encounter-") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
async def clients(encounter_database_url: str, encounter_state: Path) -> AsyncIterator[tuple[Client, Client]]:
    """The default process, and the one with ENCOUNTER_DEVICE_KEYS=on and DEVICE_PROOF=off; they share a key."""
    settings = (
        environment(encounter_database_url, encounter_state),
        environment(encounter_database_url, encounter_state, ENCOUNTER_DEVICE_KEYS="on", DEVICE_PROOF="off"),
    )
    with running(*settings, folder=encounter_state) as targets:
        first, second = (Client(target) for target in targets)
        yield first, second
        await first.close()
        await second.close()


@pytest.fixture(scope="session")
def authority(clients: tuple[Client, Client], encounter_state: Path) -> Signer:
    """Signs with the key that the processes generated."""
    return Signer("", "", development_key(encounter_state))


@pytest.fixture
async def database(encounter_database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection for the test."""
    connection = await asyncpg.connect(encounter_database_url)
    yield connection
    await connection.close()


@pytest.fixture
async def members(database: asyncpg.Connection) -> Members:
    """Members that no other test uses."""
    return Members(await add_member(database), await add_member(database), await add_member(database, revoked=True))


@pytest.fixture
def signer(authority: Signer, members: Members) -> Signer:
    """Signs with the authority's key, for Ada who met Ben."""
    return Signer(members.ada, members.ben, authority.key)
