"""Encounters through the gateway: the contract's answers, to the letter."""

from __future__ import annotations

import asyncio
import re
import sys
from typing import Any

import asyncpg
import httpx
import redis.asyncio as redis

from stack.local import Stack
from tests.acceptance.encounter.conftest import mint
from tests.error_body import KEYS
from tests.signers.encounter import Signer, hostile_tokens, twin
from tests.stand_ins.encounter_service import Client, Members
from vyris.device_proof import build_proof, http_target
from vyris.encounter.v1 import encounter_pb2

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
LIST = encounter_pb2.DESCRIPTOR.services_by_name["EncounterService"].methods_by_name["ListEncounters"]


async def verify(gateway: httpx.AsyncClient, token: Any) -> httpx.Response:
    return await gateway.post("/encounters/verify", json={"token": token})


async def test_an_encounter_answers_201_with_the_documented_keys(
    gateway: httpx.AsyncClient, signer: Signer, members: Members
) -> None:
    answer = await verify(gateway, signer.token())
    assert answer.status_code == 201
    body = answer.json()
    encounter = body.pop("encounter")
    assert body == {"status": "VERIFIED"}
    assert encounter.keys() == {"id", "initiator_id", "receiver_id", "encountered_at", "verified_at"}
    assert (encounter["initiator_id"], encounter["receiver_id"]) == (members.ada, members.ben)
    assert TIME.fullmatch(encounter["encountered_at"])
    assert TIME.fullmatch(encounter["verified_at"])


async def test_every_hostile_token_answers_401_in_three_keys_and_never_5xx(
    gateway: httpx.AsyncClient, signer: Signer, members: Members
) -> None:
    for name, token in hostile_tokens(signer, members.revoked).items():
        answer = await verify(gateway, token)
        assert answer.status_code == 401, name
        body = answer.json()
        assert body.keys() == KEYS, name
        assert (body["error"], body["retryable"]) == ("UNAUTHORIZED", False), name
        assert token not in body["message"], name


async def test_a_request_without_a_token_answers_422(gateway: httpx.AsyncClient) -> None:
    answers = [
        await gateway.post("/encounters/verify", json=body)
        for body in ({}, {"token": ""}, {"token": "  "}, {"token": None}, {"token": ["x"]}, {"token": {}}, {"jwt": "x"})
    ]
    assert [(answer.status_code, answer.json()["error"]) for answer in answers] == [(422, "INVALID_REQUEST")] * 7


async def test_a_replay_answers_409(gateway: httpx.AsyncClient, signer: Signer) -> None:
    token = signer.token()
    answers = [await verify(gateway, text) for text in (token, token, twin(token))]
    assert [answer.status_code for answer in answers] == [201, 409, 409]
    assert answers[1].json() == {
        "error": "CONFLICT",
        "message": "This encounter is already recorded",
        "retryable": False,
    }


async def test_one_of_200_copies_at_once_is_recorded_even_if_redis_forgets(
    stack: Stack, gateway: httpx.AsyncClient, signer: Signer
) -> None:
    token = signer.token(jti="copied-200-times")

    async def forget() -> None:
        async with redis.from_url(stack.redis_url) as client:
            for _ in range(5):
                await client.flushall()
                await asyncio.sleep(0.01)

    *answers, _ = await asyncio.gather(*(verify(gateway, token) for _ in range(200)), forget())
    codes = [answer.status_code for answer in answers if answer is not None]
    assert (codes.count(201), codes.count(409)) == (1, 199)
    assert (await verify(gateway, token)).status_code == 409
    connection = await asyncpg.connect(stack.database_url)
    try:
        assert await connection.fetchval("SELECT count(*) FROM encounters WHERE jti = 'copied-200-times'") == 1
    finally:
        await connection.close()


async def test_native_grpc_gives_the_same_answers(stack: Stack, signer: Signer, members: Members) -> None:
    client = Client(stack.gateway_grpc_target)
    try:
        token = signer.token()
        assert isinstance(await client.verify(token), encounter_pb2.Encounter)
        assert await client.verify(token) == "CONFLICT"
        assert await client.verify("") == "INVALID_REQUEST"
        hostile = hostile_tokens(signer, members.revoked)
        assert {await client.verify(text) for text in hostile.values()} == {"UNAUTHORIZED"}
    finally:
        await client.close()


async def test_a_member_sees_its_encounters_page_by_page_with_its_devices_proof(
    stack: Stack, gateway: httpx.AsyncClient, signer: Signer, members: Members
) -> None:
    phone = Signer("", "")
    cleo = await mint(gateway, phone)
    recorded = [(await verify(gateway, signer.token(aud=cleo))).json()["encounter"] for _ in range(3)]
    base_url = f"http://localhost:{stack.settings.gateway_port}"
    first = encounter_pb2.ListEncountersRequest(membership_id=cleo, page_size=2)
    answer = await get(gateway, phone, first, base_url)
    assert answer.status_code == 200
    page = answer.json()
    assert page.keys() == {"encounters", "next_page_token"}
    second = encounter_pb2.ListEncountersRequest(
        membership_id=cleo, page_size=2, page_token=str(page["next_page_token"])
    )
    rest = (await get(gateway, phone, second, base_url)).json()
    assert page["encounters"] + rest["encounters"] == list(reversed(recorded))
    assert rest["next_page_token"] == ""


async def test_a_list_without_the_right_proof_or_member_is_refused(
    gateway: httpx.AsyncClient, members: Members
) -> None:
    cleo = await mint(gateway, Signer("", ""))
    expected = {
        f"/memberships/{cleo}/encounters": 401,
        f"/memberships/{members.ada}/encounters": 401,
        f"/memberships/{members.revoked}/encounters": 401,
        "/memberships/00000000-0000-4000-8000-000000000000/encounters": 404,
        "/memberships/nobody/encounters": 404,
        f"/memberships/{cleo}/encounters?page_size=101": 422,
        f"/memberships/{cleo}/encounters?page_size=many": 422,
        f"/memberships/{cleo}/encounters?page_token=x": 422,
    }
    assert {path: (await gateway.get(path)).status_code for path in expected} == expected


async def test_a_newcomer_signs_a_token_at_the_command_line(
    stack: Stack, gateway: httpx.AsyncClient, members: Members
) -> None:
    command = [sys.executable, "-m", "cli.main", "dev", "encounter-token"]
    command += ["--from", members.ada, "--to", members.ben, "--lat", "52.52", "--lng", "13.405"]
    process = await asyncio.create_subprocess_exec(
        *command, env=dict(stack.service_environment), stdout=asyncio.subprocess.PIPE
    )
    token, _ = await asyncio.wait_for(process.communicate(), 30)
    assert (await verify(gateway, token.decode().strip())).status_code == 201


async def get(
    gateway: httpx.AsyncClient, phone: Signer, request: encounter_pb2.ListEncountersRequest, base_url: str
) -> httpx.Response:
    target = http_target(base_url, LIST, request)
    assert target is not None
    return await gateway.get(
        f"/memberships/{request.membership_id}/encounters",
        params={"page_size": request.page_size, "page_token": request.page_token},
        headers={"DPoP": build_proof(phone.key, request, target)},
    )
