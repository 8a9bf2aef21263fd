"""A draw by its public document, and the result of an entry, which needs one HMAC and no request."""

from __future__ import annotations

import hashlib
import hmac
from enum import StrEnum
from typing import Protocol

from vyris.draw.v1 import draw_pb2


class Result(StrEnum):
    """The result of an entry."""

    NOT_DRAWN = "NOT_DRAWN"
    """Nothing is decided yet."""
    OFFERED = "OFFERED"
    """It has or had an offer: `Client.take_hold` returns it while it lasts."""
    WAITING = "WAITING"
    """It may still get an offer."""
    NOT_OFFERED = "NOT_OFFERED"
    """It had no offer, and the draw is over."""
    CANCELLED = "CANCELLED"
    """The draw was cancelled before it was decided."""


class HasLeaf(Protocol):
    """An entry, as `Client.enter` or `Client.get_entry` returns it."""

    @property
    def leaf_hash(self) -> str:
        """64 hexadecimal digits."""


class Draw:
    """The document of a draw."""

    def __init__(self, document: draw_pb2.GetDrawResponse) -> None:
        self.document = document
        self._seed = bytes.fromhex(document.seed)

    @property
    def state(self) -> str:
        """`ANNOUNCED`, `ENTERING`, `COMMITTED`, `DRAWN`, `DONE` or `CANCELLED`."""
        return self.document.state

    def key(self, entry: HasLeaf) -> str:
        """The key that ranks the entry: HMAC-SHA-256(seed, leaf hash), 64 hexadecimal digits; empty before the draw."""
        if not self._seed:
            return ""
        return hmac.new(self._seed, bytes.fromhex(entry.leaf_hash), hashlib.sha256).hexdigest()

    def result(self, entry: HasLeaf) -> Result:
        """The result of an entry by this document."""
        if not self._seed:
            return Result.CANCELLED if self.state == "CANCELLED" else Result.NOT_DRAWN
        # Digits of one length and case compare like the bytes. The cutoff is empty if nobody has an offer.
        if self.key(entry) <= self.document.cutoff:
            return Result.OFFERED
        return Result.NOT_OFFERED if self.state in {"DONE", "CANCELLED"} else Result.WAITING
