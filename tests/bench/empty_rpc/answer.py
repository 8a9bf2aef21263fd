"""The answer that every empty RPC gives: as many bytes as a real one."""

from __future__ import annotations

from vyris.holds.v1 import holds_pb2
from vyris.mint.v1 import mint_pb2

MEMBERSHIP_ID = "2f1c7a52-6f0e-4b7e-9c41-0d9b1c7de001"
PASS_SERIAL = "8a3dd0b5-3c52-4a89-8f6e-54a1f5a1c002"


def minted(tier: str, year: str) -> mint_pb2.MintResponse:
    """A mint's answer, made for each call as the suite does."""
    return mint_pb2.MintResponse(
        status="FULFILLED",
        membership=mint_pb2.Membership(
            id=MEMBERSHIP_ID, tier=tier, year=year, sequence_num=123456, pass_serial=PASS_SERIAL
        ),
        replayed=False,
    )


def held(tier: str, year: str) -> holds_pb2.TakeHoldResponse:
    """A hold's answer, made for each call."""
    hold = holds_pb2.Hold(id=MEMBERSHIP_ID, tier=tier, year=year, expires_at="2025-01-01T00:10:00.000Z")
    return holds_pb2.TakeHoldResponse(status="HELD", hold=hold, replayed=False)
