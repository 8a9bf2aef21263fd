"""The caller's network address, as mails show it."""

from __future__ import annotations

from typing import Final

from services.server.runtime.call import Call

UNKNOWN: Final = "an unknown address"


def network_address(call: Call) -> str:
    """The caller's IP address as the gateway resolved it, or `UNKNOWN`."""
    return call.caller_address() or UNKNOWN
