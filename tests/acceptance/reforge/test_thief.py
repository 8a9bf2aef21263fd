"""The thief's journeys, through the gateway: one factor does all it can, and the owner has the membership at the end.

Each is a row of the table in docs/threat-model.md. Hours pass in the database, not in the test.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import Any

import asyncpg
import httpx
import pytest

from services.data.storage.database import Database
from services.data.storage.settings import PostgresSettings
from services.reforge.delays import Delays
from services.reforge.housekeeping import Housekeeping
from stack.local import Stack
from tests.acceptance.reforge.journey import MAIL_LIMIT_S, Journey, new_device
from tests.commands import run_vyris
from tests.stand_ins.reforge_service import METHODS, Device, move_back, text_of
from vyris.reforge.v1 import reforge_pb2

DELAYS = Delays(undo_h=24, email_h=72)


class Theft(Journey):
    """An owner with a phone and a mailbox, and a thief who gets one of them."""

    def __init__(self, stack: Stack) -> None:
        super().__init__(stack)
        self.phone = new_device("owners-phone")
        self.mint(self.phone)

    def refuse(self, device: Device) -> httpx.Response:
        return self._send_signed(device, "RefuseReforge", "/devices/reforge/refuse", membership_id=self.membership_id)

    def undo(self, device: Device) -> httpx.Response:
        return self._send_signed(device, "UndoReforge", "/devices/reforge/undo", membership_id=self.membership_id)

    def change_email(self, device: Device, email: str) -> httpx.Response:
        return self._send_signed(device, "ChangeEmail", self._path("email"), user_id=self.user_id, email=email)

    def refuse_email(self, device: Device) -> httpx.Response:
        return self._send_signed(device, "RefuseEmailChange", self._path("email/refuse"))

    def list_moves(self, device: Device) -> dict[str, Any]:
        """The moves that the app shows."""
        request = reforge_pb2.ListMovesRequest(membership_id=self.membership_id)
        proof = self.proof(device, METHODS["ListMoves"], request, {})
        answer = self.http.get(self._path("moves"), headers={"DPoP": proof})
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def press(self, page: str, token: str) -> int:
        return self.http.post(f"/reforge/{page}", data={"token": token}).status_code

    def set_email(self, email: str) -> None:
        """The operator's command."""
        command = ["membership", "set-email", self.membership_id, email, "--reason", "case 1, purchase shown"]
        run_vyris({"VYRIS_STATE_DIR": str(self.stack.state.root)}, *command).check_returncode()

    def hours_pass(self, hours: float) -> None:
        asyncio.run(self._hours_pass(hours))

    def wait_for_words(self, address: str, words: str) -> None:
        """Wait for a mail to an address that contains `words`."""
        until = time.monotonic() + MAIL_LIMIT_S
        while not any(words in " ".join(text_of(mail).split()) for mail in self.mails(address)):
            assert time.monotonic() < until, f"no mail says: {words}"
            time.sleep(0.1)

    def belongs_to(self, device: Device, *strangers: Device) -> bool:
        """Whether only this device gets the membership's pass."""
        return self.issue_pass(device).status_code == 200 and all(
            self.issue_pass(stranger).status_code == 401 for stranger in strangers
        )

    def address_is(self, email: str) -> bool:
        return asyncio.run(self._address()) == email

    def _path(self, tail: str) -> str:
        return f"/memberships/{self.membership_id}/{tail}"

    def _send_signed(self, device: Device, method: str, path: str, **body: str) -> httpx.Response:
        named = {**body, "membership_id": self.membership_id}
        message = getattr(reforge_pb2, f"{method}Request")()
        return self.http.post(path, json=body, headers={"DPoP": self.proof(device, METHODS[method], message, named)})

    async def _hours_pass(self, hours: float) -> None:
        connection = await asyncpg.connect(self.stack.database_url)
        try:
            await move_back(connection, self.membership_id, hours)
        finally:
            await connection.close()
        async with Database.open(PostgresSettings(database_url=self.stack.database_url), "test") as database:
            await Housekeeping(database, DELAYS, mail_retention_d=7, request_retention_d=365).once()

    async def _address(self) -> str | None:
        connection = await asyncpg.connect(self.stack.database_url)
        try:
            query = "SELECT email FROM contacts WHERE membership_id = $1"
            found: str | None = await connection.fetchval(query, uuid.UUID(self.membership_id))
            return found
        finally:
            await connection.close()


@pytest.fixture
def theft(stack: Stack) -> Theft:
    return Theft(stack)


def thiefs_mailbox() -> str:
    return f"thief-{uuid.uuid4().hex[:8]}@evil.example"


def test_a_thief_with_the_phone_is_refused_in_the_mailbox(theft: Theft) -> None:
    """The thief has the unlocked phone, keeps it, and does not watch what the owner does."""
    stolen, evil, mailbox = theft.phone, new_device("evil"), thiefs_mailbox()
    assert theft.change_email(stolen, mailbox).json()["status"] == "PENDING"
    assert theft.press("confirm", theft.token("confirm", to=mailbox)) == 200
    keep = theft.token("refuse")
    assert theft.init(evil, stolen, proven=True).status_code == 202
    refuse_move = theft.token("refuse", after=1)
    assert len(theft.mails(mailbox)) == 1, "the thief's address gets no link before the delay is over"
    assert theft.press("refuse", keep) == 200
    assert theft.press("refuse", refuse_move) == 200
    ours, seen = new_device("new-phone"), len(theft.mails())
    assert theft.init(ours, stolen).status_code == 202
    assert theft.press("confirm", theft.token("confirm", after=seen)) == 200
    theft.hours_pass(24)
    assert theft.undo(stolen).status_code == 410
    theft.hours_pass(100)
    assert theft.belongs_to(ours, stolen, evil)
    assert theft.address_is(theft.email)


def test_a_thief_with_the_phone_is_overruled_by_mailbox_and_operator(theft: Theft) -> None:
    """The thief refuses all that the owner begins, and tries everything against the operator's recovery."""
    stolen, ours = theft.phone, new_device("new-phone")
    assert theft.init(ours, stolen).status_code == 202
    assert theft.refuse(stolen).status_code == 200
    theft.wait_for_words(theft.email, "If that device is not in your hands, tell our support")
    assert theft.init(ours, stolen).status_code == 401
    second = f"second-{theft.email}"
    theft.set_email(second)
    assert theft.change_email(stolen, thiefs_mailbox()).status_code == 409
    assert theft.refuse_email(stolen).status_code == 404
    theft.hours_pass(72)
    assert theft.address_is(second)
    theft.wait_for_words(second, "this mailbox decides alone")
    assert theft.init(ours, stolen).status_code == 202
    confirm = theft.token("confirm", to=second)
    assert theft.refuse(stolen).status_code == 401
    assert theft.init(new_device("evil"), stolen, proven=True).status_code == 401
    assert theft.change_email(stolen, thiefs_mailbox()).status_code == 401
    assert theft.press("confirm", confirm) == 200
    assert theft.undo(stolen).status_code == 401
    theft.hours_pass(100)
    assert theft.undo(stolen).status_code in (401, 410)
    assert theft.belongs_to(ours, stolen)


def test_a_thief_with_the_mailbox_is_undone_by_the_phone(theft: Theft) -> None:
    """The thief reads the owner's mail, for good."""
    evil, mailbox = new_device("evil"), thiefs_mailbox()
    assert theft.init(evil, theft.phone).status_code == 202
    assert theft.press("confirm", theft.token("confirm")) == 200
    assert theft.change_email(evil, mailbox).status_code == 202
    theft.link("confirm", to=mailbox)
    [move] = theft.list_moves(theft.phone)["moves"]
    assert (move["status"], move["new_device_id"]) == ("CONFIRMED", "evil")
    assert theft.undo(theft.phone).status_code == 200
    assert theft.press("confirm", theft.token("confirm", to=mailbox)) == 410
    assert theft.init(evil, theft.phone).status_code == 401, "the phone has said no"
    for _ in range(2):  # The thief retries each time the phone's refusal ends; the app shows each retry.
        theft.hours_pass(72)
        seen = len(theft.mails())
        assert theft.init(evil, theft.phone).status_code == 202
        [latest, *_] = theft.list_moves(theft.phone)["moves"]
        assert latest["status"] == "PENDING"
        assert theft.press("confirm", theft.token("confirm", after=seen)) == 200
        assert theft.undo(theft.phone).status_code == 200
    theft.hours_pass(100)
    assert theft.belongs_to(theft.phone, evil)
    assert theft.address_is(theft.email)


def test_after_a_minute_with_the_phone_the_app_shows_the_change_of_address(theft: Theft) -> None:
    """The owner has the phone again and opens the app."""
    mailbox = thiefs_mailbox()
    assert theft.change_email(theft.phone, mailbox).status_code == 202
    [change] = theft.list_moves(theft.phone)["email_changes"]
    assert (change["status"], change["asked_by"], change["email"]) == ("PENDING", "DEVICE", "t***@evil.example")
    assert theft.refuse_email(theft.phone).status_code == 200
    assert theft.press("confirm", theft.token("confirm", to=mailbox)) == 410
    theft.hours_pass(100)
    assert theft.address_is(theft.email)


def test_after_a_minute_with_the_phone_an_owner_without_mail_undoes_everything(theft: Theft) -> None:
    """The change takes effect, and the thief moves the membership from the new mailbox alone."""
    evil, mailbox = new_device("evil"), thiefs_mailbox()
    assert theft.change_email(theft.phone, mailbox).status_code == 202
    assert theft.press("confirm", theft.token("confirm", to=mailbox)) == 200
    theft.link("refuse")
    theft.hours_pass(71)
    assert theft.init(evil, theft.phone).status_code == 202
    assert "/reforge/confirm" in theft.link("confirm"), "before the delay is over the owner alone gets the link"
    assert len(theft.mails(mailbox)) == 1
    theft.hours_pass(1)
    assert theft.address_is(mailbox)
    assert theft.init(evil, theft.phone).status_code == 202
    assert theft.press("confirm", theft.token("confirm", after=1, to=mailbox)) == 200
    assert theft.issue_pass(evil).status_code == 200
    theft.wait_for_words(theft.email, "take back both the address and the move")
    theft.hours_pass(71)
    assert theft.press("refuse", theft.token("refuse", after=3)) == 200
    assert theft.belongs_to(theft.phone, evil)
    assert theft.address_is(theft.email)


def test_after_a_minute_with_phone_and_mailbox_the_phone_undoes_the_move(theft: Theft) -> None:
    """Both factors, for a minute: the thief confirms, deletes the mails, and is gone."""
    evil, mailbox = new_device("evil"), thiefs_mailbox()
    assert theft.init(evil, theft.phone, proven=True).status_code == 202
    assert theft.press("confirm", theft.token("confirm")) == 200
    assert theft.change_email(evil, mailbox).status_code == 202
    assert theft.press("confirm", theft.token("confirm", to=mailbox)) == 200
    theft.hours_pass(23)
    [move] = theft.list_moves(theft.phone)["moves"]
    assert move["undo_until"] > move["decided_at"]
    assert theft.undo(theft.phone).status_code == 200
    theft.hours_pass(200)
    assert theft.belongs_to(theft.phone, evil)
    assert theft.address_is(theft.email)
