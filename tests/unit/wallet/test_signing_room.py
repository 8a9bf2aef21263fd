"""The queue for the signing key."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from services.wallet.signing_room import SigningRoom
from vyris.errors import Retryable


class InstantPress:
    """Signs nothing: the test is about the queue before it."""

    def press(self, _facts: object, authentication_token: str) -> bytes:
        return authentication_token.encode()


async def press_in(room: SigningRoom, name: str) -> bytes:
    with room.place():
        return await room.press(cast("Any", None), name)


async def test_the_queue_for_signatures_is_bounded_and_the_rest_is_shed_at_once() -> None:
    room = SigningRoom(cast("Any", InstantPress()), queue_limit=3)
    replies = await asyncio.gather(*(press_in(room, str(n)) for n in range(40)), return_exceptions=True)
    assert replies[:3] == [b"0", b"1", b"2"]
    shed = [reply for reply in replies[3:] if isinstance(reply, Retryable)]
    assert len(shed) == 37
    assert {(error.http_status, error.retry_after_s) for error in shed} == {(503, 1)}
    assert await press_in(room, "later") == b"later"
