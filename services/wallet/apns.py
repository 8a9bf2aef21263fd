"""Pushes to Apple: an empty payload, sent with the pass certificate, topic = pass type.

Source: Apple, "Sending notification requests to APNs", and "Adding a Web Service
to Update Passes" (the payload is an empty JSON dictionary).
"""

from __future__ import annotations

import enum
import ssl
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

import httpx
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from services.server.runtime.settings import WrongSetting
from services.wallet.signing import SigningCredentials

TIMEOUT_S: Final = 10.0
CONNECTIONS_LIMIT: Final = 2
KEPT_FOR_S: Final = 24 * 3600  # How long Apple keeps a push for a phone that is off.
# Reasons about the device. All others are about us or Apple. DeviceTokenNotForTopic, for example, comes for every phone
# if our topic differs from the passes' topic, and must not delete any phone.
_GONE_REASONS: Final = {"BadDeviceToken", "Unregistered", "ExpiredToken"}
# Errors about our certificate, topic, headers or payload. A retry within a minute does not help.
_ABOUT_US: Final = frozenset({400, 403, 404, 405, 413})


class PushOutcome(enum.Enum):
    """The outcome of an attempt, which decides the next step."""

    DELIVERED = "delivered"
    GONE = "gone"  # the token is dead: unregister it
    RETRY = "retry"  # a failure of Apple or the network
    REFUSED = "refused"  # Apple refuses us: an operator must fix the certificate or the topic; the push waits
    GAVE_UP = "gave_up"  # the last attempt of a push failed as well
    SKIPPED = "skipped"  # APNs is not configured


@dataclass(frozen=True, slots=True)
class PushAnswer:
    """An attempt's result. `gone_since_s`: since when the token is dead, in seconds since 1970, if Apple says so."""

    outcome: PushOutcome
    reason: str
    gone_since_s: float | None = None


class ApnsClient:
    """One HTTP/2 client with the pass certificate. Use as a context manager."""

    def __init__(self, origin: str, credentials: SigningCredentials, topic: str, *, trusted: Path | None) -> None:
        """`trusted`: a file of CA certificates that replace the system's."""
        self._topic = topic
        self._client = httpx.AsyncClient(
            base_url=origin,
            http2=True,
            http1=False,
            verify=_tls_context(credentials, trusted),
            timeout=TIMEOUT_S,
            limits=httpx.Limits(max_connections=CONNECTIONS_LIMIT, max_keepalive_connections=CONNECTIONS_LIMIT),
            trust_env=False,
        )

    async def __aenter__(self) -> ApnsClient:
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Close the connection."""
        await self._client.aclose()

    async def push(self, token: str) -> PushAnswer:
        """Send one push to the device with this token. HTTP errors become a `PushAnswer`; none is raised."""
        headers = {
            "apns-topic": self._topic,
            "apns-push-type": "background",
            "apns-priority": "5",
            "apns-expiration": str(int(time.time()) + KEPT_FOR_S),
        }
        try:
            response = await self._client.post(_path(token), headers=headers, content=b"{}")
        except httpx.HTTPError as error:
            return PushAnswer(PushOutcome.RETRY, type(error).__name__)
        return _answer(response)


def _path(token: str) -> str:
    """Quote the token, so that it stays one segment of the path. Dots too, or `..` would be resolved."""
    return "/3/device/" + quote(token, safe="").replace(".", "%2E")


def _answer(response: httpx.Response) -> PushAnswer:
    if response.status_code == httpx.codes.OK:
        return PushAnswer(PushOutcome.DELIVERED, "ok")
    reason, since_s = _parse_reason(response)
    if response.status_code == httpx.codes.GONE or reason in _GONE_REASONS:
        return PushAnswer(PushOutcome.GONE, reason, since_s)
    outcome = PushOutcome.REFUSED if response.status_code in _ABOUT_US else PushOutcome.RETRY
    return PushAnswer(outcome, f"{response.status_code} {reason}".strip())


def _parse_reason(response: httpx.Response) -> tuple[str, float | None]:
    """Apple's reason (at most 64 characters), and since when the token is dead, in seconds (Apple: milliseconds)."""
    try:
        document = response.json()
        reason, since_ms = str(document.get("reason", ""))[:64], document.get("timestamp")
    except (ValueError, AttributeError):
        return "", None
    return reason, since_ms / 1000 if isinstance(since_ms, int | float) else None


def _tls_context(credentials: SigningCredentials, trusted: Path | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=str(trusted) if trusted else None)
    except OSError as problem:  # SSLError is a subclass
        raise WrongSetting(f"APNS_CA cannot be used: {problem.strerror or 'it holds no certificate'}") from None
    key = credentials.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    chain = b"".join(part.public_bytes(Encoding.PEM) for part in (credentials.certificate, credentials.intermediate))
    # Python's ssl reads keys only from files; this file is private to us and deleted at once.
    with tempfile.NamedTemporaryFile() as pem:
        pem.write(key + chain)
        pem.flush()
        context.load_cert_chain(pem.name)
    return context
