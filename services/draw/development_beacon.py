"""The local stack's own beacon chain, for machines without internet and for tests. Production does not know it.

Everyone with the state folder can compute its rounds in advance, so such a draw is not fair.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from pathlib import Path
from typing import Final

from services.draw.chains import GROUP_ORDER, Chain, public_key_of, round_point
from services.identity.development_keys import read_or_make_secret
from services.server.runtime.settings import WrongSetting

SECRET_NAME: Final = "draw_beacon.secret"  # noqa: S105 - a file's name
GENESIS_TIME: Final = 1_767_225_600  # 2026-01-01
PERIOD_S: Final = 1
HASH_PREFIX: Final = b"vyris-development-beacon\n"


class DevelopmentBeacon:
    """Signs its own rounds, never before they are due."""

    def __init__(self, secret: int) -> None:
        self._secret = secret
        public_key = public_key_of(secret)
        chain_hash = hashlib.sha256(HASH_PREFIX + public_key).digest()
        self.chain = Chain(chain_hash, public_key, GENESIS_TIME, PERIOD_S, is_development=True)

    def signature(self, number: int, now: datetime) -> bytes | None:
        """The signature of a round; None if it is not due at `now`."""
        if now < self.chain.round_at(number):
            return None
        return bytes(round_point(number).scalar_mul(self._secret).compress())


def development_beacon(state_dir: Path) -> DevelopmentBeacon:
    """The beacon with its secret in `state_dir`; makes the secret if there is none. Raises WrongSetting."""
    try:
        text = read_or_make_secret(state_dir / "keys", SECRET_NAME)
    except OSError as failure:
        raise WrongSetting(f"the key in VYRIS_STATE_DIR cannot be used: {failure.strerror}") from failure
    return DevelopmentBeacon(int.from_bytes(hashlib.sha256(text.encode()).digest(), "big") % GROUP_ORDER)
