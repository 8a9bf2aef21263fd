"""A membership's encounters: its own device lists them, page by page, newest first."""

from __future__ import annotations

import uuid

import asyncpg

from services.encounter.statements import QUERIES
from tests.signers.encounter import Signer
from tests.stand_ins.encounter_service import Client, Members, enroll
from vyris.device_proof import build_proof, grpc_target
from vyris.encounter.v1 import encounter_pb2

BUSY = uuid.UUID(int=1)
Clients = tuple[Client, Client]
METHOD = encounter_pb2.DESCRIPTOR.services_by_name["EncounterService"].methods_by_name["ListEncounters"]


def list_request(membership: str, page_size: int = 0, page_token: str = "") -> encounter_pb2.ListEncountersRequest:
    return encounter_pb2.ListEncountersRequest(membership_id=membership, page_size=page_size, page_token=page_token)


def proof(phone: Signer, request: encounter_pb2.ListEncountersRequest) -> str:
    return build_proof(phone.key, request, grpc_target(METHOD))


async def test_pages_hold_every_encounter_of_both_sides_once_newest_first(
    clients: Clients, signer: Signer, members: Members
) -> None:
    recorded = []
    for number in range(25):
        there, back = (members.ada, members.ben) if number % 2 else (members.ben, members.ada)
        encounter = await clients[1].verify(signer.token(sub=there, aud=back))
        assert isinstance(encounter, encounter_pb2.Encounter)
        recorded.append(encounter)
    pages, token = [], ""
    while True:
        page = await clients[1].list(list_request(members.ada, 7, token))
        assert isinstance(page, encounter_pb2.ListEncountersResponse)
        pages.append(list(page.encounters))
        token = page.next_page_token
        if not token:
            break
        # New encounters do not disturb a walk to older ones.
        await clients[1].verify(signer.token())
    assert [len(page) for page in pages] == [7, 7, 7, 4]
    assert [encounter.id for page in pages for encounter in page] == [encounter.id for encounter in reversed(recorded)]
    assert pages[0][0] == recorded[-1]


async def test_encounters_of_one_moment_are_paged_without_loss(
    clients: Clients, members: Members, database: asyncpg.Connection
) -> None:
    await database.execute(
        "INSERT INTO encounters (id, initiator_id, receiver_id, signing_key, jti, encountered_at)"
        " SELECT gen_random_uuid(), CASE WHEN n % 2 = 0 THEN $1::uuid ELSE $2::uuid END,"
        " CASE WHEN n % 2 = 0 THEN $2::uuid ELSE $1::uuid END, repeat('k', 43), $1::text || n, now()"
        " FROM generate_series(1, 21) AS n",
        uuid.UUID(members.ada),
        uuid.UUID(members.ben),
    )
    seen: list[str] = []
    token = ""
    for _ in range(5):
        page = await clients[1].list(list_request(members.ada, 5, token))
        assert isinstance(page, encounter_pb2.ListEncountersResponse)
        seen += [encounter.id for encounter in page.encounters]
        token = page.next_page_token
    assert token == ""
    assert len(seen) == len(set(seen)) == 21


async def test_only_the_memberships_own_active_device_may_look_once_a_proof(
    clients: Clients, members: Members, database: asyncpg.Connection
) -> None:
    request = list_request(members.ada)
    phone, other = Signer("", ""), Signer("", "")
    assert await clients[0].list(request) == "UNAUTHORIZED"
    assert await clients[0].list(request, proof=proof(phone, request)) == "UNAUTHORIZED"
    await enroll(database, members.ada, phone)
    assert await clients[0].list(request) == "UNAUTHORIZED"
    assert await clients[0].list(request, proof=proof(other, request)) == "UNAUTHORIZED"
    assert await clients[0].list(request, proof=proof(phone, list_request(members.ben))) == "UNAUTHORIZED"
    good = proof(phone, request)
    assert isinstance(await clients[0].list(request, proof=good), encounter_pb2.ListEncountersResponse)
    assert await clients[0].list(request, proof=good) == "UNAUTHORIZED"
    await enroll(database, members.ada, other)
    assert await clients[0].list(request, proof=proof(phone, request)) == "UNAUTHORIZED"


async def test_checks_come_in_the_contracts_order(clients: Clients, members: Members) -> None:
    unknown = str(uuid.uuid4())
    expected = {
        "a page too large": (list_request(unknown, 101), "INVALID_REQUEST"),
        "a negative page": (list_request(unknown, -1), "INVALID_REQUEST"),
        "a page token of no page": (list_request(unknown, 0, "x" * 34), "INVALID_REQUEST"),
        "an unknown membership": (list_request(unknown), "NOT_FOUND"),
        "no id": (list_request("ada"), "NOT_FOUND"),
        "U+0000": (list_request("a\x00"), "INVALID_REQUEST"),
        "a revoked membership": (list_request(members.revoked), "UNAUTHORIZED"),
        "no proof": (list_request(members.ada), "UNAUTHORIZED"),
    }
    answers = {name: await clients[0].list(request) for name, (request, _) in expected.items()}
    assert answers == {name: reason for name, (_, reason) in expected.items()}


async def test_a_page_is_two_index_ranges_however_many_encounters_there_are(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        # A busy member, who is in half of all encounters.
        await connection.execute(
            "INSERT INTO encounters (id, initiator_id, receiver_id, signing_key, jti, encountered_at, verified_at)"
            " SELECT gen_random_uuid(), CASE WHEN n % 4 = 0 THEN $1 ELSE gen_random_uuid() END,"
            " CASE WHEN n % 4 = 1 THEN $1 ELSE gen_random_uuid() END, repeat('k', 43), n::text, now(),"
            " now() - make_interval(secs => n) FROM generate_series(1, 20000) AS n",
            BUSY,
        )
        await connection.execute("ANALYZE encounters")
        await connection.execute("SET plan_cache_mode = force_generic_plan")
        plan = await connection.fetch("EXPLAIN " + QUERIES["list_encounters"], BUSY, None, None, 51)
    finally:
        await connection.close()
    lines = [row[0] for row in plan]
    assert sum("Index Scan Backward using encounters_by_" in line for line in lines) == 2
    assert not any("Seq Scan" in line or "Sort  " in line for line in lines)
