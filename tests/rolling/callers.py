"""Callers who follow the documentation: they send a request again only if its connection breaks.

Buyers come at a fixed rate whether or not earlier ones were answered, one half as JSON, the other with `vyris.client`.
Owners use the other services meanwhile. Each answer but success is a failure.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from http import HTTPStatus
from types import TracebackType
from typing import Any, Final, Self

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from tests.chaos.history import DONE, FULFILLED, UNKNOWN, History, Operation
from tests.chaos.owners import TOKEN, mails_to
from tests.rolling.json_door import Answer, ConnectionBroke, JsonDoor
from tests.rolling.suite import Suite
from tests.signers.encounter import Signer
from vyris.client import AsyncClient, Device
from vyris.errors import VyrisError

# Like vyris.client: four times in all.
PAUSES_S: Final = (0.1, 0.2, 0.4)
CHANNELS: Final = 4
OWNERS_PAUSE_S: Final = 0.1
MOVES_EVERY: Final = 15
MAIL_LIMIT_S: Final = 20.0


class Callers:
    """All callers, and the outcomes of their calls."""

    def __init__(self, suite: Suite, rate: float) -> None:
        """`rate` is the number of mints a second."""
        self._suite = suite
        self._rate = rate
        self._exits = AsyncExitStack()
        self._stopping = False
        self.history = History("rolling")
        self.failures: Counter[str] = Counter()
        self.sent_again: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.mint_seconds: list[float] = []
        self.met: set[str] = set()
        self.addresses: set[str] = set()

    async def __aenter__(self) -> Self:
        """Open the ways in."""
        settings = self._suite.stack.settings
        self._json = await self._exits.enter_async_context(JsonDoor(settings.gateway_port))
        # Separate channels: each has its own connection, to one of the gateways.
        own = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0))
        self._grpc = [
            await self._exits.enter_async_context(
                AsyncClient(f"127.0.0.1:{settings.gateway_grpc_port}", timeout_s=15, options=own)
            )
            for _ in range(CHANNELS)
        ]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close them."""
        await self._exits.aclose()

    def stop(self) -> None:
        """Finish what has begun."""
        self._stopping = True

    async def run(self) -> None:
        """Call until stopped."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._owners(group))
            began_s, number = time.monotonic(), 0
            while not self._stopping:
                while number < (time.monotonic() - began_s) * self._rate:
                    number += 1
                    group.create_task(self._buy(number))
                await asyncio.sleep(0.005)

    async def _buy(self, number: int) -> None:
        await self._mint(f"receipt {number}", f"buyer-{number}", via="json" if number % 2 else "grpc")

    async def _mint(self, receipt: str, user: str, *, via: str = "json", email: str = "") -> Operation:
        """One purchase, from the first attempt to the last answer."""
        began_s = time.monotonic()
        answer = await (self._mint_json(receipt, user, email) if via == "json" else self._mint_grpc(receipt, user))
        operation = Operation(
            kind="mint", subject=receipt, user=user, began_s=began_s, ended_s=time.monotonic(), via=via, **answer
        )
        self.history.operations.append(operation)
        self.mint_seconds.append(operation.ended_s - began_s)
        self.answered["mint"] += 1
        if operation.outcome != FULFILLED:
            self.failures[f"mint: {operation.status}"] += 1
        return operation

    async def _mint_json(self, receipt: str, user: str, email: str) -> dict[str, Any]:
        body = {"receipt_data": receipt, "user_id": user, **({"email": email} if email else {})}
        answer = await self._insist("/mint", body)
        if answer is None or answer.status != HTTPStatus.CREATED:
            return {"outcome": UNKNOWN, "status": "no connection" if answer is None else answer.body.decode()}
        body = answer.json()
        return _fulfilled(body["membership"], body["replayed"])

    async def _mint_grpc(self, receipt: str, user: str) -> dict[str, Any]:
        # The client itself retries, and only UNAVAILABLE.
        client = self._grpc[hash(receipt) % CHANNELS]
        try:
            answer = await client.mint(receipt, user)
        except VyrisError as refusal:
            return {"outcome": UNKNOWN, "status": f"{refusal.reason}: {refusal}"}
        membership = answer.membership
        numbered = {"id": membership.id, "sequence_num": membership.sequence_num, "pass_serial": membership.pass_serial}
        return _fulfilled(numbered, answer.replayed)

    async def _insist(self, path: str, body: dict[str, Any] | None) -> Answer | None:
        """Send, and send again if the connection breaks. None if it broke every time."""
        for pause_s in (*PAUSES_S, None):
            try:
                return await self._json.send(path, body)
            except ConnectionBroke as failure:
                self.sent_again[str(failure)] += 1
                if pause_s is not None:
                    await asyncio.sleep(pause_s)
        return None

    # The other services

    async def _owners(self, group: asyncio.TaskGroup) -> None:
        """Two owners meet, fetch passes, look at the drop; newcomers move to another phone."""
        ann, bob = [await self._mint(f"{name}'s receipt", name) for name in ("ann", "bob")]
        pem = (self._suite.stack.state.keys / "encounter_private.pem").read_bytes()
        key = load_pem_private_key(pem, None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        signer = Signer(ann.membership_id, bob.membership_id, key)
        rounds = 0
        while not self._stopping:
            rounds += 1
            group.create_task(self._meet(signer))
            group.create_task(self._expect("pass", "/issue-pass", _of(ann), 200))
            group.create_task(self._expect("drop", "/drops/genesis/2025", None, 200))
            if rounds % MOVES_EVERY == 0:
                group.create_task(self._move(rounds))
            await asyncio.sleep(OWNERS_PAUSE_S)

    async def _meet(self, signer: Signer) -> None:
        jti = str(uuid.uuid4())
        self.met.add(jti)
        before = self.sent_again.total()
        # If a connection broke, the encounter may be recorded already.
        accepted = lambda: {201, 409} if self.sent_again.total() > before else {201}  # noqa: E731
        await self._record("encounter", jti, "/encounters/verify", {"token": signer.token(jti=jti)}, accepted)

    async def _move(self, number: int) -> None:
        user = f"newcomer-{number}"
        address = f"{user}@rolling.example"
        minted = await self._mint(f"{user}'s receipt", user, email=address)
        phone = Device.generate("phone")
        asked = {**_of(minted), "new_device_id": "phone", "new_public_key": phone.public_key_pem}
        self.addresses.add(address)
        if not await self._record("reforge", address, "/devices/reforge/init", asked, lambda: {202}):
            return
        token = await self._mailed_token(address)
        if token is None:
            self.failures["reforge: no mail"] += 1
            return
        before = self.sent_again.total()
        # If a connection broke, the link may be used already.
        accepted = lambda: {200, 410} if self.sent_again.total() > before else {200}  # noqa: E731
        await self._record("confirm", token, "/devices/reforge/confirm", {"token": token}, accepted)

    async def _mailed_token(self, address: str) -> str | None:
        until_s = time.monotonic() + MAIL_LIMIT_S
        while time.monotonic() < until_s:
            for text in await asyncio.to_thread(mails_to, self._suite.cluster, address):
                if found := TOKEN.search(text):
                    return found[1]
            await asyncio.sleep(0.5)
        return None

    async def _record(
        self, kind: str, subject: str, path: str, body: dict[str, Any], accepted: Callable[[], set[int]]
    ) -> bool:
        began_s = time.monotonic()
        answer = await self._insist(path, body)
        done = self._count(kind, answer, accepted())
        self.history.operations.append(
            Operation(
                kind=kind,
                subject=subject,
                user="",
                began_s=began_s,
                ended_s=time.monotonic(),
                outcome=DONE if done else UNKNOWN,
            )
        )
        return done

    async def _expect(self, kind: str, path: str, body: dict[str, Any] | None, status: int) -> None:
        self._count(kind, await self._insist(path, body), {status})

    def _count(self, kind: str, answer: Answer | None, accepted: set[int]) -> bool:
        self.answered[kind] += 1
        if answer is not None and answer.status in accepted:
            return True
        self.failures[f"{kind}: {'no connection' if answer is None else answer.body[:200].decode()}"] += 1
        return False


def _fulfilled(membership: dict[str, Any], replayed: bool) -> dict[str, Any]:
    return {
        "outcome": FULFILLED,
        "status": "OK",
        "membership_id": membership["id"],
        "sequence_num": membership["sequence_num"],
        "pass_serial": membership["pass_serial"],
        # If a request was fulfilled before its connection broke, the retry answers `replayed`.
        "replayed": replayed,
    }


def _of(minted: Operation) -> dict[str, Any]:
    return {"membership_id": minted.membership_id, "user_id": minted.user}
