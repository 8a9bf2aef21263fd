"""Where a call came from, as far as the gateway can tell."""

from __future__ import annotations

import ipaddress
from typing import Final

from services.runtime.call import Call

UNKNOWN: Final = "an unknown address"


def network_address(call: Call) -> str:
    """The caller's IP address as the gateway saw it; a sentence's worth of nothing where there is none.

    The gateway appends the address of its peer to `x-forwarded-for`, so only the
    last entry is its own word.
    """
    forwarded = call.metadata_values("x-forwarded-for")
    last = forwarded[-1].rsplit(",", 1)[-1].strip() if forwarded else ""
    try:
        return str(ipaddress.ip_address(last))
    except ValueError:
        return UNKNOWN
