"""Device proofs at a real service: single use, 60 seconds, this request."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from tests.stand_ins.reforge_service import METHODS, Device, World
from vyris.device_proof import Target, http_target
from vyris.errors import Unauthorized
from vyris.reforge.v1 import reforge_pb2


def init_request(member: str, new: Device) -> reforge_pb2.InitReforgeRequest:
    return reforge_pb2.InitReforgeRequest(
        membership_id=member, user_id="ada", new_device_id=new.name, new_public_key=new.pem, old_device_id="A"
    )


async def init_reforge(world: World, request: Any, proof: str) -> Any:
    return await world.call("InitReforge", request, proof)


async def test_a_proof_for_the_gateways_address_counts_as_well(reforge: World) -> None:
    old = Device("A")
    request = init_request(await reforge.member(old), Device("B"))
    target = http_target("http://localhost:3000", METHODS["InitReforge"], request)
    assert (await init_reforge(reforge, request, old.proof("InitReforge", request, target=target))).status == "PENDING"


async def test_a_proof_counts_once(reforge: World) -> None:
    old = Device("A")
    request = init_request(await reforge.member(old), Device("B"))
    proof = old.proof("InitReforge", request)
    await init_reforge(reforge, request, proof)
    with pytest.raises(Unauthorized, match="used before"):
        await init_reforge(reforge, request, proof)


async def test_one_of_many_copies_at_once_counts(reforge: World) -> None:
    old = Device("A")
    request = init_request(await reforge.member(old), Device("B"))
    proof = old.proof("InitReforge", request)
    answers = await asyncio.gather(*(init_reforge(reforge, request, proof) for _ in range(20)), return_exceptions=True)
    assert sum(not isinstance(answer, BaseException) for answer in answers) == 1
    assert sum(isinstance(answer, Unauthorized) for answer in answers) == 19


@pytest.mark.parametrize(("age_s", "counts"), [(50, True), (75, False), (-5, True), (-30, False)])
async def test_a_proof_is_good_for_sixty_seconds(reforge: World, age_s: int, counts: bool) -> None:
    old = Device("A")
    request = init_request(await reforge.member(old), Device("B"))
    proof = old.proof("InitReforge", request, issued_at_s=int(time.time()) - age_s)
    if counts:
        await init_reforge(reforge, request, proof)
    else:
        with pytest.raises(Unauthorized, match="older than 60 s"):
            await init_reforge(reforge, request, proof)


async def test_a_failed_call_does_not_spend_its_proof(reforge: World) -> None:
    old = Device("A")
    member = await reforge.member(old)
    for number in range(12):
        request = init_request(member, Device(f"B{number}"))
        await init_reforge(reforge, request, old.proof("InitReforge", request))
    limited = init_request(member, Device("last"))
    proof = old.proof("InitReforge", limited)
    with pytest.raises(Exception, match="Too many"):
        await init_reforge(reforge, limited, proof)
    await reforge.database.execute("UPDATE reforge_requests SET created_at = created_at - interval '2 hours'")
    assert (await init_reforge(reforge, limited, proof)).status == "PENDING"


async def test_a_bad_proof_is_refused_even_where_none_is_required(reforge: World) -> None:
    old = Device("A")
    request = init_request(await reforge.member(old), Device("B"))
    elsewhere = old.proof("InitReforge", request, target=Target("POST", "http://localhost:3000/mint"))
    other_body = old.proof("InitReforge", init_request(request.membership_id, Device("C")))
    for bad in (elsewhere, other_body, Device("evil").proof("InitReforge", request), "nonsense"):
        with pytest.raises(Unauthorized):
            await init_reforge(reforge, request, bad)
