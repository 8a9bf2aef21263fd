"""Members minted through the gateway, and the local stack's signing key."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from stack.local import Stack
from tests.plain_http import NO_TLS
from tests.signers.encounter import Signer
from tests.signers.mint import proof_headers
from tests.stand_ins.encounter_service import Members
from vyris.client import Device


@pytest.fixture
async def gateway(stack: Stack) -> AsyncIterator[httpx.AsyncClient]:
    """Speaks JSON to the gateway."""
    async with httpx.AsyncClient(base_url=stack.gateway_url, timeout=20, verify=NO_TLS) as client:
        yield client


async def mint(gateway: httpx.AsyncClient, device: Signer | None = None) -> str:
    """A new membership's id."""
    body: dict[str, Any] = {"receipt_data": f"receipt-{uuid.uuid4()}", "user_id": f"user-{uuid.uuid4()}"}
    if device is not None:
        phone = Device("phone", device.key)
        body["device"] = {"device_id": phone.device_id, "public_key": phone.public_key_pem}
    answer = await gateway.post("/mint", json=body, headers=proof_headers(body, device.key if device else None))
    assert answer.status_code == 201, answer.text
    return str(answer.json()["membership"]["id"])


@pytest.fixture
async def members(gateway: httpx.AsyncClient, stack: Stack) -> Members:
    """Two live members and one whose membership was revoked."""
    minted = Members(await mint(gateway), await mint(gateway), await mint(gateway))
    connection = await asyncpg.connect(stack.database_url)
    await connection.execute("UPDATE memberships SET revoked_at = now() WHERE id = $1", uuid.UUID(minted.revoked))
    await connection.close()
    return minted


@pytest.fixture
def signer(stack: Stack, members: Members) -> Signer:
    """Signs with `keys/encounter_private.pem`, for Ada who met Ben."""
    key = load_pem_private_key((stack.state.keys / "encounter_private.pem").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return Signer(members.ada, members.ben, key)
