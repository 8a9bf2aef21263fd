"""For clients that speak plain HTTP: `httpx.Client(verify=NO_TLS)`.

Without it each client reads the machine's trusted certificates, which takes 40 ms of CPU.
"""

from __future__ import annotations

import ssl
from typing import Final

NO_TLS: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Trusts nobody, so that a connection with TLS fails."""
