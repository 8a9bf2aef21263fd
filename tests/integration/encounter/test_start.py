"""How an encounter process starts, and when it refuses to start."""

from __future__ import annotations

from pathlib import Path

import asyncpg
import pytest

from services.encounter.development_key import development_key
from tests.forked import Ended, run_to_end
from tests.signers.encounter import Signer
from tests.stand_ins.encounter_service import Client, Members, add_member, environment, running
from vyris.encounter.v1 import encounter_pb2

NOWHERE = "postgresql://nobody@127.0.0.1:1/none"


def run_encounter(folder: Path, **settings: str) -> Ended:
    """Run a process that refuses to start; return its result."""
    return run_to_end("encounter", environment(NOWHERE, folder / "state", **settings), folder=folder)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"VYRIS_ENV": "production"}, "needs ENCOUNTER_JWT_PUBLIC_KEY"),
        ({"VYRIS_ENV": "production", "DEVICE_PROOF": "off"}, "refuses DEVICE_PROOF=off"),
        (
            {"VYRIS_ENV": "production", "PUBLIC_BASE_URL": "http://club.example"},
            "PUBLIC_BASE_URL must begin with https",
        ),
        ({"ENCOUNTER_JWT_PUBLIC_KEY": "secret"}, "ENCOUNTER_JWT_PUBLIC_KEY: It holds something that is neither"),
        ({"ENCOUNTER_DEVICE_KEYS": "maybe"}, "ENCOUNTER_DEVICE_KEYS"),
        ({"ENCOUNTER_MAX_AGE_S": "0"}, "ENCOUNTER_MAX_AGE_S"),
    ],
)
def test_a_setting_that_cannot_be_served_ends_the_process_with_a_sentence(
    settings: dict[str, str], says: str, tmp_path: Path
) -> None:
    finished = run_encounter(tmp_path, **settings)
    assert finished.status == 78
    assert says in finished.output
    assert "Traceback" not in finished.output
    assert not (tmp_path / "state").exists()


def test_an_address_that_is_not_this_machines_ends_the_process_with_a_sentence(tmp_path: Path) -> None:
    finished = run_encounter(tmp_path, LISTEN_HOST="not.a.host.invalid", METRICS_PORT="9100")
    assert finished.status == 69
    assert "encounter cannot listen on not.a.host.invalid:9100" in finished.output
    assert "Traceback" not in finished.output


async def test_in_production_it_serves_the_configured_key_and_writes_none(database_url: str, tmp_path: Path) -> None:
    connection = await asyncpg.connect(database_url)
    members = Members(await add_member(connection), await add_member(connection), "")
    await connection.close()
    signer = Signer(members.ada, members.ben)
    settings = environment(
        database_url,
        tmp_path / "state",
        VYRIS_ENV="production",
        ENCOUNTER_JWT_PUBLIC_KEY=signer.pem.decode().replace("\n", "\\n"),
        ENCOUNTER_LOCATION_RETENTION_DAYS="0",
    )
    with running(settings, folder=tmp_path) as (target,):
        client = Client(target)
        assert isinstance(await client.verify(signer.token(lat=1.0, lng=2.0)), encounter_pb2.Encounter)
        stranger = Signer(members.ada, members.ben, development_key(tmp_path / "elsewhere"))
        assert await client.verify(stranger.token()) == "UNAUTHORIZED"
        await client.close()
    assert not (tmp_path / "state").exists()
    connection = await asyncpg.connect(database_url)
    assert await connection.fetchval("SELECT latitude_hundredths FROM encounters") is None
    await connection.close()


async def test_devices_alone_are_enough_in_production(database_url: str, tmp_path: Path) -> None:
    settings = environment(database_url, tmp_path / "state", VYRIS_ENV="production", ENCOUNTER_DEVICE_KEYS="on")
    with running(settings, folder=tmp_path) as (target,):
        client = Client(target)
        assert await client.verify(Signer("a", "b").token()) == "UNAUTHORIZED"
        await client.close()
