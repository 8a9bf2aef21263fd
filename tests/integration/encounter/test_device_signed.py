"""Tokens signed by the initiator's device count only with a proof by the receiver's."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import asyncpg
import pytest

from tests.signers.encounter import Signer, twin
from tests.stand_ins.encounter_service import BASE_URL, Client, Members, enroll
from vyris.device_proof import build_proof, grpc_target, http_target
from vyris.encounter.v1 import encounter_pb2

METHOD = encounter_pb2.DESCRIPTOR.services_by_name["EncounterService"].methods_by_name["VerifyEncounter"]


@dataclass
class Phones:
    """Ada's device signs tokens, Ben's device proves calls."""

    ada: Signer
    ben: Signer
    kid: str

    def token(self, **changes: object) -> str:
        return self.ada.token(header={"kid": self.kid}, **changes)

    def proof(self, token: str, *, by: Signer | None = None, through_gateway: bool = False) -> str:
        request = encounter_pb2.VerifyEncounterRequest(token=token)
        target = http_target(BASE_URL, METHOD, request) if through_gateway else grpc_target(METHOD)
        assert target is not None
        return build_proof((by or self.ben).key, request, target)


@pytest.fixture
async def phones(database: asyncpg.Connection, members: Members) -> Phones:
    ada, ben = Signer(members.ada, members.ben), Signer(members.ben, members.ada)
    kid = await enroll(database, members.ada, ada)
    await enroll(database, members.ben, ben)
    return Phones(ada, ben, kid)


@pytest.fixture
def client(clients: tuple[Client, Client]) -> Client:
    return clients[1]


async def test_both_devices_together_prove_an_encounter_once(client: Client, phones: Phones) -> None:
    token = phones.token()
    assert isinstance(await client.verify(token, proof=phones.proof(token)), encounter_pb2.Encounter)
    assert await client.verify(token, proof=phones.proof(token)) == "CONFLICT"
    assert await client.verify(twin(token), proof=phones.proof(twin(token))) == "CONFLICT"


async def test_a_proof_made_for_the_gateway_counts_too(client: Client, phones: Phones) -> None:
    token = phones.token()
    recorded = await client.verify(token, proof=phones.proof(token, through_gateway=True))
    assert isinstance(recorded, encounter_pb2.Encounter)


async def test_one_device_alone_proves_nothing(client: Client, phones: Phones) -> None:
    token, other = phones.token(), phones.token()
    wrong = {
        "no proof": None,
        "the initiator's own proof": phones.proof(token, by=phones.ada),
        "a stranger's proof": phones.proof(token, by=Signer("", "")),
        "a proof for another token": phones.proof(other),
        "no proof at all": "hello",
    }
    assert {name: await client.verify(token, proof=proof) for name, proof in wrong.items()} == dict.fromkeys(
        wrong, "UNAUTHORIZED"
    )
    assert isinstance(await client.verify(token, proof=phones.proof(token)), encounter_pb2.Encounter)


@pytest.mark.parametrize("kid", ["\0" * 43, "\ud800" * 43, "a" * 42 + "\u00e9", "a" * 43])
async def test_a_key_id_that_no_device_can_have_is_refused(client: Client, phones: Phones, kid: str) -> None:
    token = phones.ada.token(header={"kid": kid})
    assert await client.verify(token, proof="x") == "UNAUTHORIZED"


async def test_a_proof_is_spent_only_with_its_encounter(client: Client, phones: Phones, members: Members) -> None:
    stale = phones.token(iat=1_600_000_000)
    proof = phones.proof(stale)
    assert await client.verify(stale, proof=proof) == "UNAUTHORIZED"
    token = phones.token()
    proof = phones.proof(token)
    answers = await asyncio.gather(*(client.verify(token, proof=proof) for _ in range(20)))
    assert sum(isinstance(answer, encounter_pb2.Encounter) for answer in answers) == 1
    assert answers.count("UNAUTHORIZED") == 19


async def test_one_of_many_copies_with_fresh_proofs_is_recorded(client: Client, phones: Phones) -> None:
    token = phones.token()
    answers = await asyncio.gather(*(client.verify(token, proof=phones.proof(token)) for _ in range(40)))
    assert sum(isinstance(answer, encounter_pb2.Encounter) for answer in answers) == 1
    assert answers.count("CONFLICT") == 39


async def test_only_active_devices_count(
    client: Client, phones: Phones, members: Members, database: asyncpg.Connection
) -> None:
    token = phones.token()
    await enroll(database, members.ben, Signer(members.ben, ""))
    assert await client.verify(token, proof=phones.proof(token)) == "UNAUTHORIZED"
    await enroll(database, members.ben, phones.ben)
    await enroll(database, members.ada, Signer(members.ada, ""))
    assert await client.verify(token, proof=phones.proof(token)) == "UNAUTHORIZED"
    await enroll(database, members.ada, phones.ada)
    assert isinstance(await client.verify(token, proof=phones.proof(token)), encounter_pb2.Encounter)


async def test_a_device_speaks_for_its_own_membership_alone(client: Client, phones: Phones, members: Members) -> None:
    for token in (phones.token(sub=members.ben, aud=members.ada), phones.token(aud=members.revoked)):
        assert await client.verify(token, proof=phones.proof(token)) == "UNAUTHORIZED"


async def test_tokens_of_devices_are_refused_where_the_setting_is_off(
    clients: tuple[Client, Client], phones: Phones
) -> None:
    token = phones.token()
    assert await clients[0].verify(token, proof=phones.proof(token)) == "UNAUTHORIZED"
