"""Rounds of the beacon: real signatures verify, everything else does not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from services.draw.chains import QUICKNET
from services.draw.development_beacon import DevelopmentBeacon

# Real rounds of drand's quicknet.
ROUNDS = {
    42: "95a9f9f5b231b7714de1553105d8ffdf3dcda24cfdb1e689319bccf79a9c8ce430a91b811fbfaf763900bc998b5d686a",
    43: "a96a579010b3d2261959104b29b5b46685b3a6b6f6aae7304ef72d44fe7d44e667bcdd500935d7deb58a2b4d89419ea6",
    1000: "b44679b9a59af2ec876b1a6b1ad52ea9b1615fc3982b19576350f93447cb1125e342b73a8dd2bacbe47e4b6b63ed5e39",
}


@pytest.mark.parametrize("number", ROUNDS)
def test_a_real_round_verifies_and_no_other(number: int) -> None:
    signature = bytes.fromhex(ROUNDS[number])
    assert QUICKNET.verifies(number, signature)
    assert not QUICKNET.verifies(number + 1, signature)
    assert not QUICKNET.verifies(0, signature)
    assert not QUICKNET.verifies(2**40, signature)


def test_each_bit_counts() -> None:
    signature = bytes.fromhex(ROUNDS[1000])
    for bit in range(0, 8 * len(signature), 5):
        flipped = bytearray(signature)
        flipped[bit // 8] ^= 1 << bit % 8
        assert not QUICKNET.verifies(1000, bytes(flipped))


def test_what_is_no_signature_is_refused_without_an_error() -> None:
    outside_the_group = bytes([0x80, *bytes(46), 4])  # on the curve, and not of the order that counts
    for wrong in (b"", bytes(48), b"\xff" * 48, b"\xc0" + bytes(47), bytes(47), bytes(96), outside_the_group):
        assert not QUICKNET.verifies(1000, wrong)


def test_rounds_are_due_when_the_chain_says() -> None:
    assert QUICKNET.round_at(1) == datetime.fromtimestamp(1_692_803_367, UTC)
    assert QUICKNET.round_at(1000) - QUICKNET.round_at(1) == timedelta(seconds=2_997)
    for number in (1, 2, 1000):
        assert QUICKNET.first_round_from(QUICKNET.round_at(number)) == number
        assert QUICKNET.first_round_from(QUICKNET.round_at(number) + timedelta(milliseconds=1)) == number + 1
    assert QUICKNET.first_round_from(datetime(2000, 1, 1, tzinfo=UTC)) == 1


def test_the_development_beacon_signs_nothing_ahead_of_time() -> None:
    beacon = DevelopmentBeacon(17)
    due = beacon.chain.round_at(5)
    assert beacon.signature(5, due - timedelta(milliseconds=1)) is None
    signature = beacon.signature(5, due)
    assert signature is not None
    assert beacon.chain.verifies(5, signature)
    assert not QUICKNET.verifies(5, signature)
    assert beacon.chain.chain_hash != DevelopmentBeacon(18).chain.chain_hash
