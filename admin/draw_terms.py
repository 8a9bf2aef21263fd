"""Write the terms of a new draw, and refuse those of a draw that could not be fair."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from admin.drops import NewDrop
from services.draw.chains import ROUND_LIMIT, Chain
from services.draw.maths import read_verifier_key
from services.server.runtime.times import rfc3339

VERSION: Final = "vyris-draw-terms-v1"
SHORTEST_WINDOW: Final = timedelta(hours=24)
SHORTEST_CHALLENGE_S: Final = 60
CAPACITY_LIMIT: Final = 1_000_000
"""The draw orders all numbers in memory, each by a hash."""


class TermsRefused(ValueError):
    """The message says which rule the terms break."""


@dataclass(frozen=True, slots=True)
class NewDraw:
    """A draw to be announced."""

    chain: Chain
    round: int
    entries_open: datetime
    entries_close: datetime
    challenge_s: int
    verifier_key: str  # of the key that will sign: name+id+base64


def write_terms(drop: NewDrop, new: NewDraw) -> str:
    """The text of the terms: JSON with sorted keys, without blanks. Raises TermsRefused."""
    if drop.closes_at is None:
        raise TermsRefused("a draw needs the time when its sale ends (--closes-at)")
    _check(drop, drop.closes_at, new)
    members = {
        "v": VERSION,
        "tier": drop.tier,
        "year": drop.year,
        "capacity": drop.capacity,
        "entries_open": _format_time(new.entries_open),
        "entries_close": _format_time(new.entries_close),
        "closes_at": _format_time(drop.closes_at),
        "offer_s": drop.hold_ttl_s,
        "challenge_s": new.challenge_s,
        "limits": sorted({*drop.limits, "user"}),
        "chain_hash": new.chain.chain_hash.hex(),
        "public_key": new.chain.public_key.hex(),
        "genesis_time": new.chain.genesis_time,
        "period_s": new.chain.period_s,
        "round": new.round,
        "key": new.verifier_key,
    }
    return json.dumps(members, sort_keys=True, separators=(",", ":"))


def _check(drop: NewDrop, closes_at: datetime, new: NewDraw) -> None:
    """Raises TermsRefused. On the development chain, windows may be short."""
    if drop.environment != "production":
        raise TermsRefused("a draw is public, so a sandbox drop cannot have one")
    if not 0 < drop.capacity <= CAPACITY_LIMIT:
        raise TermsRefused(f"a draw has 1 to {CAPACITY_LIMIT} numbers")
    if new.entries_open >= new.entries_close:
        raise TermsRefused("entries must open before they close")
    if not new.chain.is_development and new.entries_close - new.entries_open < SHORTEST_WINDOW:
        raise TermsRefused("entries must be open for 24 hours or more")
    _check_round(new)
    if closes_at < new.chain.round_at(new.round) + timedelta(seconds=drop.hold_ttl_s):
        raise TermsRefused(f"the sale must go on for {drop.hold_ttl_s} s after the round, as long as an offer lasts")
    try:
        read_verifier_key(new.verifier_key)
    except ValueError as refusal:
        raise TermsRefused(f"the key that will sign: {refusal}") from None


def _check_round(new: NewDraw) -> None:
    if not new.chain.is_development and new.challenge_s < SHORTEST_CHALLENGE_S:
        raise TermsRefused(f"the root must be published {SHORTEST_CHALLENGE_S} s or more before the round")
    if not 0 < new.round <= ROUND_LIMIT:
        raise TermsRefused(f"a round is a number from 1 to {ROUND_LIMIT}")
    round_at = new.chain.round_at(new.round)
    earliest = new.entries_close + timedelta(seconds=new.challenge_s)
    if round_at <= earliest:
        first = new.chain.first_round_from(earliest + timedelta(seconds=1))
        raise TermsRefused(
            f"round {new.round} is due at {rfc3339(round_at)}, less than {new.challenge_s} s after entries close; "
            f"the first possible round is {first}"
        )


def _format_time(moment: datetime) -> str:
    """RFC 3339. Microseconds are refused: the terms would lose them, and Postgres would not."""
    if moment.microsecond % 1000:
        raise TermsRefused("the times of a draw are whole milliseconds")
    return rfc3339(moment.astimezone(UTC))
