"""Owners of memberships, who meet and move to new phones during the faults."""

from __future__ import annotations

import asyncio
import email
import email.policy
import re
import time
import uuid
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from tests.chaos.clients import Clients
from tests.chaos.cluster import Cluster
from tests.chaos.history import DONE, FULFILLED, UNKNOWN, History, Operation
from tests.signers.encounter import Signer
from vyris.client import Device

PAUSE_S: Final = 0.5
MAIL_LIMIT_S: Final = 20.0
TOKEN: Final = re.compile(r"/reforge/confirm\?token=([A-Za-z0-9_-]{43})\s")


@dataclass
class Owners:
    """Two owners: they meet every half second, and each moves once."""

    cluster: Cluster
    clients: Clients
    history: History
    prefix: str
    met: set[str] = field(default_factory=set)
    addresses: set[str] = field(default_factory=set)
    _stopping: bool = False

    async def run(self) -> None:
        """Mint, meet and move until stopped; finish what has begun."""
        owners = await asyncio.gather(*(self._mint(name) for name in ("ann", "bob")))
        if all(owner.outcome == FULFILLED for owner in owners):
            await asyncio.gather(self._meet(*owners), *(self._move(owner) for owner in owners))

    def stop(self) -> None:
        """Begin nothing more."""
        self._stopping = True

    async def _mint(self, name: str) -> Operation:
        user = f"{self.prefix}-{name}"
        device = Device.generate("old")
        while True:
            operation = await self.clients.mint("http", f"{user}-receipt", user, device, f"{user}@chaos.example")
            self.history.operations.append(operation)
            if operation.outcome != UNKNOWN:
                return operation
            await asyncio.sleep(PAUSE_S)

    async def _meet(self, ann: Operation, bob: Operation) -> None:
        pem = (self.cluster.stack.state.keys / "encounter_private.pem").read_bytes()
        key = load_pem_private_key(pem, None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        signer = Signer(ann.membership_id, bob.membership_id, key)
        while not self._stopping:
            jti = str(uuid.uuid4())
            self.met.add(jti)
            token = signer.token(jti=jti)
            await asyncio.gather(*(self._insist("encounter", jti, {"token": token}, 201) for _ in range(2)))
            await asyncio.sleep(PAUSE_S)

    async def _move(self, owner: Operation) -> None:
        address = f"{owner.user}@chaos.example"
        new = Device.generate("new")
        await asyncio.sleep(1.0)
        self.addresses.add(address)
        asked = {
            "membership_id": owner.membership_id,
            "user_id": owner.user,
            "old_device_id": "old",
            "new_device_id": new.device_id,
            "new_public_key": new.public_key_pem,
        }
        if await self._insist("reforge", address, asked, 202) == DONE:
            token = await self._mailed_token(address)
            if token:
                await asyncio.gather(*(self._insist("confirm", token, {"token": token}, 200) for _ in range(2)))

    async def _insist(self, kind: str, subject: str, body: dict[str, Any], success: int) -> str:
        """Send until there is a final answer, or until ten seconds after the faults."""
        path = {"encounter": "/encounters/verify", "reforge": "/devices/reforge/init"}.get(kind)
        until_s = float("inf")
        while True:
            if self._stopping:
                until_s = min(until_s, time.monotonic() + 10)
            began_s = time.monotonic()
            try:
                answer = await self.clients.http.post(path or "/devices/reforge/confirm", json=body)
                outcome = DONE if answer.status_code == success else answer.json()["error"]
            except (httpx.HTTPError, ValueError, KeyError):
                outcome = UNKNOWN
            outcome = UNKNOWN if outcome in {"RETRYABLE", "RATE_LIMITED"} else outcome
            self.history.operations.append(
                Operation(
                    kind=kind, subject=subject, user="", began_s=began_s, ended_s=time.monotonic(), outcome=outcome
                )
            )
            if outcome != UNKNOWN or time.monotonic() > until_s:
                return str(outcome)
            await asyncio.sleep(PAUSE_S)

    async def _mailed_token(self, address: str) -> str | None:
        """The token in the newest mail to this address."""
        until_s = time.monotonic() + MAIL_LIMIT_S
        while time.monotonic() < until_s:
            for text in reversed(await asyncio.to_thread(mails_to, self.cluster, address)):
                found = TOKEN.search(text)
                if found:
                    return found[1]
            await asyncio.sleep(PAUSE_S)
        return None


def mails_to(cluster: Cluster, address: str) -> list[str]:
    """The texts of the mails that came for an address, oldest first."""
    texts = []
    for path in sorted(cluster.stack.state.mail.glob("*.eml")):
        mail = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
        body = mail.get_body(("plain",))
        if mail["To"] == address and body is not None:
            texts.append(str(body.get_content()))
    return texts
