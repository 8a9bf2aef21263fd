"""Batches: one bad row does not harm the others, and an unfinished encounter may be sent again."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator

import asyncpg
import pytest

from services.data.storage.database import Database
from services.encounter.encounter_token import Meeting, ProvenMeeting
from services.encounter.recording import Recorder
from services.encounter.register import Encounter, Register
from services.encounter.settings import EncounterSettings
from tests.stand_ins.encounter_service import Members, add_member
from vyris.errors import Conflict, Retryable

DEADLINE_S = 10


def settings(database_url: str) -> EncounterSettings:
    return EncounterSettings(_env_file=None, database_url=database_url, encounter_queue_limit=32)  # type: ignore[call-arg]


@pytest.fixture
async def pair(database_url: str) -> Members:
    connection = await asyncpg.connect(database_url)
    members = Members(await add_member(connection), await add_member(connection), "")
    await connection.close()
    return members


@pytest.fixture
async def recorder(database_url: str) -> AsyncIterator[Recorder]:
    chosen = settings(database_url)
    async with Database.open(chosen, "test") as database:
        opened = Recorder(database, Register(5, keeps_locations=True), chosen)
        yield opened
        await opened.close()


def proven(members: Members, jti: str) -> ProvenMeeting:
    now = time.time()
    meeting = Meeting(jti, uuid.UUID(members.ada), uuid.UUID(members.ben), now, now, now + 300, None)
    return ProvenMeeting(meeting, "k" * 43)


async def outcome(recorder: Recorder, item: ProvenMeeting, deadline_s: float = DEADLINE_S) -> str:
    try:
        return type(await recorder.record(repr(item), item, deadline_s)).__name__
    except (Conflict, Retryable) as error:
        return error.reason


async def test_a_row_that_postgres_refuses_fails_alone(recorder: Recorder, pair: Members) -> None:
    # The parser refuses such a jti. If it ever lets one pass, the row must not fail its neighbours.
    items = [proven(pair, f"good-{number}") for number in range(20)]
    items[7] = items[7]._replace(meeting=items[7].meeting._replace(jti="bad\x00"))
    first = asyncio.create_task(outcome(recorder, proven(pair, "first")))
    answers = await asyncio.gather(*(outcome(recorder, item) for item in items))
    assert await first == Encounter.__name__
    assert answers.count(Encounter.__name__) == 19
    assert answers[7] == "RETRYABLE"


async def test_without_postgres_an_encounter_is_retryable_and_later_recorded(database_url: str, pair: Members) -> None:
    nowhere = settings("postgresql://nobody@127.0.0.1:1/none")
    async with Database.open(nowhere, "test") as database:
        away = Recorder(database, Register(5, keeps_locations=True), nowhere)
        assert await outcome(away, proven(pair, "late")) == "RETRYABLE"
        await away.close()
    chosen = settings(database_url)
    async with Database.open(chosen, "test") as database:
        back = Recorder(database, Register(5, keeps_locations=True), chosen)
        assert await outcome(back, proven(pair, "late")) == Encounter.__name__
        await back.close()


async def test_while_a_lock_is_held_callers_get_their_answer_in_time_and_more_than_the_limit_are_shed(
    recorder: Recorder, database_url: str, pair: Members
) -> None:
    other = await asyncpg.connect(database_url)
    try:
        async with other.transaction():
            await other.execute("LOCK TABLE encounters IN ACCESS EXCLUSIVE MODE")
            began_s = time.monotonic()
            answers = await asyncio.gather(
                *(outcome(recorder, proven(pair, f"waiting-{number}"), 0.5) for number in range(40))
            )
            assert set(answers) == {"RETRYABLE"}
            assert time.monotonic() - began_s < 5
    finally:
        await other.close()
    assert await outcome(recorder, proven(pair, "afterwards")) == Encounter.__name__


async def test_a_batch_waits_for_a_row_of_another_open_transaction(
    recorder: Recorder, database_url: str, pair: Members
) -> None:
    other = await asyncpg.connect(database_url)
    try:
        transaction = other.transaction()
        await transaction.start()
        await other.execute(
            "INSERT INTO encounters (id, initiator_id, receiver_id, signing_key, jti, encountered_at)"
            " VALUES (gen_random_uuid(), $1, $2, repeat('k', 43), 'contested', now())",
            uuid.UUID(pair.ada),
            uuid.UUID(pair.ben),
        )
        waiting = asyncio.create_task(outcome(recorder, proven(pair, "contested")))
        await asyncio.sleep(0.3)
        assert not waiting.done()
        await transaction.commit()
        assert await waiting == "CONFLICT"
    finally:
        await other.close()
