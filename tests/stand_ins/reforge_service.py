"""A reforge process over real Postgres and real SMTP, with helpers for tests."""

# ruff: noqa: ARG002 - the shape of aiosmtpd\'s hooks

from __future__ import annotations

import asyncio
import email
import email.policy
import os
import re
import threading
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import asyncpg
import grpc
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from google.api.httpbody_pb2 import HttpBody

from services.data.storage.database import Database
from services.data.storage.settings import PostgresSettings
from services.identity.jose import public_key_from_text
from services.reforge.delays import Delays
from services.reforge.housekeeping import Housekeeping
from tests.forked import fork_service, wait_until_it_serves
from tests.ports import free_port
from vyris.device_proof import METADATA_KEY, Target, build_proof, grpc_target
from vyris.error_wire import from_rpc_error
from vyris.errors import VyrisError
from vyris.reforge.v1 import reforge_pb2, reforge_pb2_grpc

METHODS = reforge_pb2.DESCRIPTOR.services_by_name["ReforgeService"].methods_by_name


@dataclass
class Device:
    """A phone with a key."""

    name: str
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    @property
    def pem(self) -> str:
        return self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    def proof(self, method: str, request: Any, *, target: Target | None = None, **claims: Any) -> str:
        return build_proof(self.key, request, target or grpc_target(METHODS[method]), **claims)


class Mailbox:
    """A mail server that can be stopped."""

    def __init__(self) -> None:
        self.port = free_port()
        self.messages: list[EmailMessage] = []
        self.recipients: list[str] = []
        self.refusal = ""
        self.sender_refusal = ""
        self._arrival = threading.Condition()
        self._controller: Controller | None = None

    async def handle_MAIL(  # noqa: N802
        self,
        server: SMTP,
        session: Session,
        envelope: Envelope,
        address: str,
        options: list[str],
    ) -> str:
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return self.sender_refusal or "250 ok"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        if self.refusal:
            return self.refusal
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        with self._arrival:
            self.messages.append(message)
            self.recipients.extend(envelope.rcpt_tos)
            self._arrival.notify_all()
        return "250 kept"

    def open(self) -> None:
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port)
        self._controller.start()

    def close(self) -> None:
        if self._controller is not None:
            self._controller.stop()
            self._controller = None

    def reset(self) -> None:
        """Forget all mails, and accept every mail again."""
        self.messages.clear()
        self.recipients.clear()
        self.refusal = self.sender_refusal = ""
        if self._controller is None:
            self.open()

    def to(self, address: str) -> list[EmailMessage]:
        return [message for message in self.messages if message["To"] == address]

    def wait_for(self, address: str, count: int = 1, limit_s: float = 15.0) -> EmailMessage:
        """The `count`-th mail to an address."""
        with self._arrival:
            assert self._arrival.wait_for(lambda: len(self.to(address)) >= count, limit_s), f"no mail {count}"
            return self.to(address)[count - 1]


def text_of(message: EmailMessage) -> str:
    body = message.get_body(("plain",))
    assert body is not None
    return str(body.get_content())


def token_in(message: EmailMessage, page: str = "confirm") -> str:
    found = re.search(rf"/reforge/{page}\?token=([A-Za-z0-9_-]{{43}})\s", text_of(message))
    assert found, f"no {page} link"
    return found[1]


class Process:
    """A reforge process, with its output kept."""

    def __init__(self, database_url: str, smtp_port: int, folder: Path, **settings: str) -> None:
        self.port = free_port()
        self.log_path = folder / f"reforge-{uuid.uuid4().hex[:8]}.log"
        environment = {
            "PATH": os.environ["PATH"],
            "DATABASE_URL": database_url,
            "REFORGE_PORT": str(self.port),
            "SMTP_URL": f"smtp://127.0.0.1:{smtp_port}",
            "VYRIS_STATE_DIR": str(folder / "state"),
            "MAIL_POLL_MS": "100",
            "MAIL_RETRY_MS": "100",
            "MAIL_RETRY_LIMIT_MS": "400",
            "MAIL_TIMEOUT_MS": "1500",
            "MAIL_LEASE_MS": "2000",
            "DRAIN_DELAY_MS": "0",
            "REFORGE_ADDRESS_LIMIT": "10000",
            "LOG_LEVEL": "debug",
            **settings,
        }
        self.log_path.touch()
        self._log_skipped = 0
        self._process = fork_service("reforge", environment, folder=folder, log=self.log_path)

    async def ready(self) -> None:
        await asyncio.to_thread(wait_until_it_serves, "vyris.reforge.v1.ReforgeService", self.port)

    def log(self) -> str:
        """The output since the start, or since `skip_log`."""
        return self.log_path.read_bytes()[self._log_skipped :].decode(errors="replace")

    def skip_log(self) -> None:
        """Leave what is in the log so far out of `log`."""
        self._log_skipped = self.log_path.stat().st_size

    def kill(self) -> None:
        self._process.kill()

    def stop(self) -> None:
        self._process.stop()


@dataclass
class World:
    """One database, one mailbox, one process, and calls that raise the error that the caller gets."""

    database: asyncpg.Pool
    database_url: str
    mailbox: Mailbox
    process: Process
    stub: Any
    drop_id: int

    async def member(
        self, device: Device | None = None, *, email_address: str | None = "auto", user: str = "ada"
    ) -> str:
        """Insert a membership as mint does; return its id."""
        membership_id = uuid.uuid4()
        if email_address == "auto":
            email_address = self.address(membership_id)
        async with self.database.acquire() as connection, connection.transaction():
            await connection.execute(
                "INSERT INTO memberships (id, drop_id, sequence_num, user_id, receipt_key, pass_serial)"
                " VALUES ($1, $2, nextval('numbers'), $3, $4, $5)",
                membership_id,
                self.drop_id,
                user,
                os.urandom(32),
                uuid.uuid4(),
            )
            if device is not None:
                key = public_key_from_text(device.pem)
                await connection.execute(
                    "INSERT INTO devices (membership_id, device_id, public_key, thumbprint) VALUES ($1, $2, $3, $4)",
                    membership_id,
                    device.name,
                    key.canonical,
                    key.thumbprint,
                )
            if email_address is not None:
                await connection.execute(
                    "INSERT INTO contacts (membership_id, email) VALUES ($1, $2)", membership_id, email_address
                )
        return str(membership_id)

    def address(self, membership_id: object) -> str:
        return f"owner-{membership_id}@mail.example"

    async def init(
        self, membership_id: str, new: Device, *, old: str = "", proven_by: Device | None = None, **changes: str
    ) -> Any:
        request = reforge_pb2.InitReforgeRequest(
            membership_id=membership_id,
            user_id=changes.pop("user_id", "ada"),
            new_device_id=changes.pop("new_device_id", new.name),
            new_public_key=changes.pop("new_public_key", new.pem),
            old_device_id=old,
        )
        assert not changes
        proof = proven_by.proof("InitReforge", request) if proven_by else None
        return await self.call("InitReforge", request, proof)

    async def confirm(self, token: str, code: str = "") -> Any:
        return await self.call("ConfirmReforge", reforge_pb2.ConfirmReforgeRequest(token=token, confirmation_code=code))

    async def call_undo(self, token: str) -> Any:
        return await self.call("UndoReforge", reforge_pb2.UndoReforgeRequest(token=token))

    async def call(self, method: str, request: Any, proof: str | None = None) -> Any:
        metadata = (("x-vyris-caller-address", "203.0.113.9"), *(((METADATA_KEY, proof),) if proof else ()))
        try:
            return await getattr(self.stub, method)(request, metadata=metadata, timeout=20)
        except grpc.aio.AioRpcError as error:
            refusal = from_rpc_error(error.code(), error.details() or "", tuple(error.trailing_metadata() or ()))
            if refusal is None:
                raise
            raise refusal from None

    async def active(self, membership_id: str) -> list[str]:
        rows = await self.database.fetch(
            "SELECT device_id FROM devices WHERE membership_id = $1 AND retired_at IS NULL", uuid.UUID(membership_id)
        )
        return [row["device_id"] for row in rows]

    async def move(self, membership_id: str, old: Device | None, new: Device) -> str:
        """Make a whole move; return the id of its request."""
        before = len(self._mails_with(membership_id, "confirm"))
        begun = await self.init(membership_id, new, old=old.name if old else "")
        mail = await self.mail_with(membership_id, "confirm", beyond=before)
        await self.confirm(token_in(mail))
        return str(begun.reforge_id)

    async def mail_with(self, membership_id: str, page: str, *, beyond: int = 0) -> EmailMessage:
        """Wait for more than `beyond` mails to the owner with a link to `page`; return the newest."""
        return await self.mail_to(self.address(membership_id), page, beyond=beyond)

    async def mail_to(self, address: str, page: str, *, beyond: int = 0) -> EmailMessage:
        """Wait for more than `beyond` mails to an address with a link to `page`; return the newest."""
        until = time.monotonic() + 15
        while time.monotonic() < until:
            fitting = self._mails_to(address, page)
            if len(fitting) > beyond:
                return fitting[-1]
            await asyncio.sleep(0.05)
        raise AssertionError(f"no mail with a {page} link")

    def _mails_with(self, membership_id: str, page: str) -> list[EmailMessage]:
        return self._mails_to(self.address(membership_id), page)

    def _mails_to(self, address: str, page: str) -> list[EmailMessage]:
        return [mail for mail in self.mailbox.to(address) if f"/reforge/{page}?token=" in text_of(mail)]

    async def proven(self, method: str, request: Any, device: Device | None) -> Any:
        """Send a call with a device's proof."""
        return await self.call(method, request, device.proof(method, request) if device else None)

    async def change_email(self, member: str, email: str, device: Device | None) -> Any:
        request = reforge_pb2.ChangeEmailRequest(membership_id=member, user_id="ada", email=email)
        return await self.proven("ChangeEmail", request, device)

    async def list_moves(self, member: str, device: Device | None) -> Any:
        return await self.proven("ListMoves", reforge_pb2.ListMovesRequest(membership_id=member), device)

    async def press(self, page: str, token: str) -> int:
        """Press the button of a page; return the HTTP status."""
        form = HttpBody(content_type="application/x-www-form-urlencoded", data=f"token={token}".encode())
        call = getattr(self.stub, f"Submit{page.capitalize()}Page")(reforge_pb2.SubmitPageRequest(form=form))
        await call
        return int(dict(await call.initial_metadata())["x-http-status"])

    async def address_on_file(self, member: str) -> str | None:
        query = "SELECT email FROM contacts WHERE membership_id = $1"
        found: str | None = await self.database.fetchval(query, uuid.UUID(member))
        return found

    async def hours_pass(self, member: str, hours: float) -> None:
        """Move all records of a membership `hours` into the past, then do what is due."""
        await move_back(self.database, member, hours)
        async with Database.open(PostgresSettings(database_url=self.database_url), "test") as database:
            delays = Delays(undo_h=24, email_h=72)
            await Housekeeping(database, delays, mail_retention_d=7, request_retention_d=365).once()


async def move_back(database: Any, member: str, hours: float) -> None:
    """Move all records of a membership `hours` into the past. `database` runs SQL."""
    columns = {
        "reforge_requests": ("created_at", "expires_at", "decided_at", "undo_until"),
        "email_changes": (
            *("created_at", "effective_at", "confirm_until", "confirmed_at"),
            *("applied_at", "refused_at", "undo_until", "undone_at"),
        ),
        "devices": ("enrolled_at", "retired_at"),
    }
    for table, names in columns.items():
        changes = ", ".join(f"{name} = {name} - make_interval(secs => $2)" for name in names)
        query = f"UPDATE {table} SET {changes} WHERE membership_id = $1"  # noqa: S608 - names of this file
        await database.execute(query, uuid.UUID(member), hours * 3600)


@asynccontextmanager
async def world(database_url: str, folder: Path, **settings: str) -> AsyncIterator[World]:
    mailbox = Mailbox()
    mailbox.open()
    process = Process(database_url, mailbox.port, folder, **settings)
    pool = await asyncpg.create_pool(database_url, min_size=1, max_size=4)
    try:
        await pool.execute("CREATE SEQUENCE IF NOT EXISTS numbers")
        drop_id = await pool.fetchval(
            "INSERT INTO drops (tier, year, capacity) VALUES ('genesis', '2025', 999)"
            " ON CONFLICT (tier, year, environment) DO UPDATE SET capacity = 999 RETURNING id"
        )
        await process.ready()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{process.port}") as channel:
            stub = reforge_pb2_grpc.ReforgeServiceStub(channel)
            yield World(pool, database_url, mailbox, process, stub, drop_id)
    finally:
        process.stop()
        mailbox.close()
        await pool.close()


__all__ = ["Device", "Mailbox", "Process", "VyrisError", "World", "text_of", "token_in", "world"]
