"""Tokens against real processes and a real Postgres: what is recorded, what is refused, what is a replay."""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import Any

import asyncpg

from tests.signers.encounter import Signer, hostile_tokens, twin
from tests.stand_ins.encounter_service import Client, Members, add_member
from vyris.encounter.v1 import encounter_pb2

Clients = tuple[Client, Client]


async def rows(database: asyncpg.Connection, members: Members) -> list[asyncpg.Record]:
    return await database.fetch("SELECT * FROM encounters WHERE initiator_id = $1", uuid.UUID(members.ada))


async def test_an_encounter_is_recorded_and_returned(
    clients: Clients, signer: Signer, members: Members, database: asyncpg.Connection
) -> None:
    encounter = await clients[0].verify(
        signer.token(iat=1_700_000_000 + (int(time.time()) - 1_700_000_000), jti="first")
    )
    assert isinstance(encounter, encounter_pb2.Encounter)
    (row,) = await rows(database, members)
    assert encounter.id == str(row["id"])
    assert (encounter.initiator_id, encounter.receiver_id) == (members.ada, members.ben)
    assert encounter.encountered_at.endswith(".000Z")
    assert encounter.verified_at == row["verified_at"].strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
    assert row["jti"] == "first"
    assert row["latitude_hundredths"] is None


async def test_every_hostile_token_is_refused_and_leaves_nothing(
    clients: Clients, signer: Signer, members: Members, database: asyncpg.Connection
) -> None:
    hostile = hostile_tokens(signer, members.revoked)
    assert len(hostile) >= 25
    for client in clients:
        answers = {name: await client.verify(token) for name, token in hostile.items()}
        assert answers == dict.fromkeys(hostile, "UNAUTHORIZED")
    assert await rows(database, members) == []


async def test_a_missing_or_blank_token_is_a_request_without_one(clients: Clients) -> None:
    assert [await clients[0].verify(token) for token in ("", " ", "\n\t")] == ["INVALID_REQUEST"] * 3


async def test_a_replay_in_any_spelling_is_a_conflict(
    clients: Clients, signer: Signer, database: asyncpg.Connection
) -> None:
    claims: dict[str, Any] = signer.claims()
    token = signer.token(**claims)
    assert isinstance(await clients[0].verify(token), encounter_pb2.Encounter)
    spellings = {
        "the same": token,
        "the twin signature": twin(token),
        "signed again": signer.token(**claims),
        "another header": signer.token(header={"typ": "jwt", "x": 1}, **claims),
        "another iat": signer.token(**{**claims, "iat": claims["iat"] - 1}),
        "the other way round": signer.token(**{**claims, "sub": claims["aud"], "aud": claims["sub"]}),
    }
    for client in clients:
        assert {name: await client.verify(text) for name, text in spellings.items()} == dict.fromkeys(
            spellings, "CONFLICT"
        )


async def test_one_of_200_copies_at_two_processes_is_recorded(
    clients: Clients, signer: Signer, members: Members, database: asyncpg.Connection
) -> None:
    token = signer.token()
    copies = [token, twin(token)]
    answers = await asyncio.gather(*(clients[number % 2].verify(copies[number // 2 % 2]) for number in range(200)))
    assert sum(isinstance(answer, encounter_pb2.Encounter) for answer in answers) == 1
    assert answers.count("CONFLICT") == 199
    assert len(await rows(database, members)) == 1


async def test_many_tokens_at_two_processes_in_any_order_never_deadlock(
    clients: Clients, signer: Signer, members: Members, database: asyncpg.Connection
) -> None:
    tokens = [signer.token() for _ in range(150)]
    answers = await asyncio.gather(
        *(clients[0].verify(token) for token in tokens), *(clients[1].verify(token) for token in reversed(tokens))
    )
    recorded = [answer.id for answer in answers if isinstance(answer, encounter_pb2.Encounter)]
    assert len(recorded) == len(set(recorded)) == 150
    assert answers.count("CONFLICT") == 150
    assert {str(row["id"]) for row in await rows(database, members)} == set(recorded)


async def test_tokens_that_share_a_jti_are_judged_separately(
    clients: Clients, signer: Signer, members: Members
) -> None:
    bad = signer.token(jti="shared", aud=members.revoked)
    good = signer.token(jti="shared")
    answers = await asyncio.gather(*(clients[0].verify(token) for token in (bad, bad, good, bad, good)))
    assert answers.count("UNAUTHORIZED") == 3
    assert answers.count("CONFLICT") == 1


async def test_a_refused_token_is_not_used_up(
    clients: Clients, signer: Signer, members: Members, database: asyncpg.Connection
) -> None:
    stranger = await add_member(database, revoked=True)
    token = signer.token(aud=stranger)
    assert await clients[0].verify(token) == "UNAUTHORIZED"
    await database.execute("UPDATE memberships SET revoked_at = NULL WHERE id = $1", uuid.UUID(stranger))
    assert isinstance(await clients[0].verify(token), encounter_pb2.Encounter)


async def test_a_revocation_counts_from_its_commit(
    clients: Clients, signer: Signer, members: Members, database: asyncpg.Connection
) -> None:
    assert isinstance(await clients[0].verify(signer.token()), encounter_pb2.Encounter)
    await database.execute("UPDATE memberships SET revoked_at = now() WHERE id = $1", uuid.UUID(members.ben))
    assert await clients[0].verify(signer.token()) == "UNAUTHORIZED"
    assert await clients[0].verify(signer.token(sub=members.ben, aud=members.ada)) == "UNAUTHORIZED"


async def test_times_are_judged_with_a_small_leeway_for_clocks_ahead(clients: Clients, signer: Signer) -> None:
    now = int(time.time())
    good = (
        signer.token(iat=now + 4),
        signer.token(iat=now - 290),
        signer.token(exp=now + 3_000),
        signer.token(iat=now + 0.25),
    )
    bad = (signer.token(iat=now + 20), signer.token(iat=now - 300.5), signer.token(iat=now - 10, exp=now - 0.5))
    for token in good:
        assert isinstance(await clients[0].verify(token), encounter_pb2.Encounter)
    for token in bad:
        assert await clients[0].verify(token) == "UNAUTHORIZED"


async def test_a_location_is_stored_no_finer_than_a_hundredth_of_a_degree(
    clients: Clients, signer: Signer, members: Members, database: asyncpg.Connection
) -> None:
    await clients[0].verify(signer.token(lat=52.520008, lng=-13.404954))
    (row,) = await rows(database, members)
    assert (row["latitude_hundredths"], row["longitude_hundredths"]) == (5252, -1340)
