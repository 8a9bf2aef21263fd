"""Confirming a move: one transaction retires the old device, activates the new one, and tells everybody.

What happens to a token, in order:

1. unknown: 404
2. used, refused, superseded, past its time, or the device changed meanwhile: 410
3. the request asks for a code: 422 for what is not six digits, in any script; 401 without a code or with a wrong one;
   the fifth wrong one ends the request
4. otherwise the membership moves, and every other pending request for it is superseded
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final
from uuid import UUID

import asyncpg

from services.reforge import metrics
from services.reforge.delays import Delays
from services.reforge.lookups import locked_request, request_named_by
from services.reforge.mail_facts import request_facts, shown_time
from services.reforge.outbox import MailKind, enqueue
from services.reforge.statements import QUERIES, append_moved
from services.reforge.tokens import Purpose, TokenKey, has_code_form
from services.storage.connections import Connection
from services.storage.database import Database
from vyris.errors import Expired, InvalidRequest, Unauthorized

WRONG_CODES_LIMIT: Final = 5

ENDED: Final = {
    "CONFIRMED": "This link was used: the membership has moved",
    "SUPERSEDED": "A newer request took this link's place",
    "REFUSED": "This request was refused; if you did not refuse it, tell our support",
    "UNDONE": "This move was taken back",
}


class CodeVerdict(Enum):
    """What became of the code that was typed."""

    RIGHT = auto()
    MISSING = auto()
    WRONG = auto()


@dataclass(frozen=True, slots=True)
class Moved:
    """The membership has moved."""

    membership_id: UUID
    new_device_id: str


class Confirmation:
    """Carries out moves."""

    def __init__(self, database: Database, keys: TokenKey, delays: Delays) -> None:
        self._database = database
        self._keys = keys
        self._delays = delays

    async def confirm(self, token: str, code: str) -> Moved:
        """Carry out the request that `token` names. Raises NotFound, Expired, Unauthorized, InvalidRequest."""
        found = await request_named_by(self._database, Purpose.MOVE, token)
        refuse_ended(found)  # Without a lock: of many copies all but the first few need none.

        async def work(connection: Connection) -> Moved | CodeVerdict:
            request = await locked_request(connection, found)
            refuse_ended(request)
            verdict = self._judge_code(request, code)
            if verdict is CodeVerdict.WRONG:
                await connection.execute(QUERIES["count_wrong_code"], request["id"], WRONG_CODES_LIMIT)
            if verdict is not CodeVerdict.RIGHT:
                return verdict  # and not raised: the count must be committed
            return await self._move(connection, request)

        outcome = await self._database.in_transaction(work)
        if outcome is CodeVerdict.MISSING:
            raise Unauthorized("This request needs the code that the new device shows (confirmation_code)")
        if isinstance(outcome, CodeVerdict):
            raise Unauthorized("This is not the code that the new device shows")
        metrics.MOVES.labels("confirmed").inc()
        return outcome

    def _judge_code(self, request: asyncpg.Record, typed: str) -> CodeVerdict:
        if not request["code_required"]:
            return CodeVerdict.RIGHT
        if not typed.strip():
            return CodeVerdict.MISSING
        if not has_code_form(typed):
            raise InvalidRequest("confirmation_code must be the six digits that the new device shows")
        return CodeVerdict.RIGHT if self._keys.is_code(request["id"], typed) else CodeVerdict.WRONG

    async def _move(self, connection: Connection, request: asyncpg.Record) -> Moved:
        membership_id: UUID = request["membership_id"]
        times = await connection.fetchrow(QUERIES["mark_confirmed"], request["id"], self._delays.undo_h)
        if times is None:  # Superseded a moment ago by a change of address.
            raise Expired(ENDED["SUPERSEDED"])
        await connection.execute(QUERIES["retire_device"], membership_id)
        await connection.execute(
            QUERIES["activate_device"],
            membership_id,
            request["new_device_id"],
            request["new_public_key"],
            request["new_thumbprint"],
        )
        # The device that asked for it holds the membership no more.
        await connection.execute(QUERIES["drop_open_email_change"], membership_id, True)
        await connection.execute(QUERIES["extend_email_undo"], membership_id, times["undo_until"])
        await connection.execute(QUERIES["verify_contact"], membership_id, request["email"])
        await connection.execute(QUERIES["supersede_pending"], membership_id, True)
        await append_moved(
            connection,
            membership_id,
            "reforge.confirmed",
            reason="confirmed by the link in the owner's mailbox",
            # No key: the log is for ever, and the request has it for as long as it is kept.
            details={"reforge_id": str(request["id"])},
        )
        facts = request_facts(request, request)
        facts |= {"moved_at": shown_time(times["decided_at"]), "undo_until": shown_time(times["undo_until"])}
        await enqueue(
            connection,
            MailKind.MOVED,
            request["id"],
            recipient=request["email"],
            facts=facts,
            useless_after=times["undo_until"],
        )
        await _tell_addresses_before(connection, membership_id, facts)
        return Moved(membership_id, request["new_device_id"])


async def _tell_addresses_before(connection: Connection, membership_id: UUID, facts: dict[str, Any]) -> None:
    """An address that was replaced a while ago still learns of moves: its owner may have been robbed of it."""
    for change in await connection.fetch(QUERIES["recent_old_addresses"], membership_id):
        await enqueue(
            connection,
            MailKind.MOVED_SINCE,
            change["id"],
            recipient=change["old_email"],
            facts={**facts, "undo_until": shown_time(change["undo_until"])},
            useless_after=change["undo_until"],
        )


def refuse_ended(request: asyncpg.Record) -> None:
    """A request that can no longer be carried out. Raises Expired."""
    if request["state"] in ENDED:
        raise Expired(ENDED[request["state"]])
    if request["past_expiry"]:
        raise Expired("This link has expired")
    if request["revoked"]:
        raise Expired("The membership was revoked, so it cannot move")
    if request["active_thumbprint"] != request["old_thumbprint"]:
        raise Expired("The membership's device has changed since this was asked for")
