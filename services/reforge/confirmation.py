"""Confirm a move: one transaction retires the old device, activates the new one, and writes the notices.

The checks, in order:

1. The token is unknown: 404.
2. The request is used, refused, superseded or expired, or the device has changed since: 410.
3. The request needs a code. Not six digits (of any script): 422. No code, or a wrong one: 401. The fifth wrong code
   ends the request.
4. Otherwise the membership moves, and every other pending request for it is superseded.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final
from uuid import UUID

from services.data.storage.connections import Connection
from services.data.storage.database import Database
from services.reforge import metrics
from services.reforge.delays import Delays
from services.reforge.lookups import find_request, lock_request
from services.reforge.mail_facts import format_time, request_facts
from services.reforge.outbox import MailKind, enqueue
from services.reforge.rows import Request
from services.reforge.statements import QUERIES, append_moved, cancel_open_email_change, supersede_pending
from services.reforge.tokens import Purpose, TokenKey, has_code_form
from vyris.errors import Expired, InvalidRequest, Unauthorized

WRONG_CODES_LIMIT: Final = 5

ENDED: Final = {
    "CONFIRMED": "This link was used: the membership has moved",
    "SUPERSEDED": "A newer request took this link's place",
    "REFUSED": "This request was refused; if you did not refuse it, tell our support",
    "UNDONE": "This move was taken back",
}


class CodeVerdict(Enum):
    """The result of comparing the typed code."""

    RIGHT = auto()
    MISSING = auto()
    WRONG = auto()


@dataclass(frozen=True, slots=True)
class ConfirmedMove:
    """A membership that has moved."""

    membership_id: UUID
    new_device_id: str


class Confirmation:
    """Confirms moves."""

    def __init__(self, database: Database, keys: TokenKey, delays: Delays) -> None:
        self._database = database
        self._keys = keys
        self._delays = delays

    async def confirm(self, token: str, code: str) -> ConfirmedMove:
        """Move the membership of the request that `token` belongs to.

        `code` is the code that the person typed; it may be empty. Raises NotFound (unknown token), Expired (the request
        has ended), InvalidRequest (not six digits), Unauthorized (no code, or a wrong one).
        """
        found = await find_request(self._database, Purpose.MOVE, token)
        require_confirmable(found)  # First without a lock, because most copies of a request come after its end.

        async def work(connection: Connection) -> ConfirmedMove | CodeVerdict:
            request = await lock_request(connection, found)
            require_confirmable(request)
            verdict = self._judge_code(request, code)
            if verdict is CodeVerdict.WRONG:
                await connection.execute(QUERIES["count_wrong_code"], request.id, WRONG_CODES_LIMIT)
            if verdict is not CodeVerdict.RIGHT:
                return verdict  # Do not raise here: the count must be committed.
            return await self._move(connection, request)

        outcome = await self._database.in_transaction(work)
        if outcome is CodeVerdict.MISSING:
            raise Unauthorized("This request needs the code that the new device shows (confirmation_code)")
        if isinstance(outcome, CodeVerdict):
            raise Unauthorized("This is not the code that the new device shows")
        metrics.MOVES.labels("confirmed").inc()
        return outcome

    def _judge_code(self, request: Request, typed: str) -> CodeVerdict:
        if not request.code_required:
            return CodeVerdict.RIGHT
        if not typed.strip():
            return CodeVerdict.MISSING
        if not has_code_form(typed):
            raise InvalidRequest("confirmation_code must be the six digits that the new device shows")
        return CodeVerdict.RIGHT if self._keys.is_code(request.id, typed) else CodeVerdict.WRONG

    async def _move(self, connection: Connection, request: Request) -> ConfirmedMove:
        membership_id = request.membership_id
        times = await connection.fetchrow(QUERIES["mark_confirmed"], request.id, self._delays.undo_h)
        if times is None:  # A change of address has just superseded it.
            raise Expired(ENDED["SUPERSEDED"])
        await connection.execute(QUERIES["retire_device"], membership_id)
        await connection.execute(
            QUERIES["activate_device"],
            membership_id,
            request.new_device_id,
            request.new_public_key,
            request.new_thumbprint,
        )
        # The old device asked for this change, and it no longer has the membership.
        await cancel_open_email_change(connection, membership_id, only_by_device=True)
        await connection.execute(QUERIES["extend_email_undo"], membership_id, times["undo_until"])
        await connection.execute(QUERIES["verify_contact"], membership_id, request.email)
        await supersede_pending(connection, membership_id, also_proven=True)
        await append_moved(
            connection,
            membership_id,
            "reforge.confirmed",
            reason="confirmed by the link in the owner's mailbox",
            # Leave the key out: the log is kept for ever, and the request keeps the key until its retention ends.
            details={"reforge_id": str(request.id)},
        )
        facts = request_facts(request)
        facts |= {"moved_at": format_time(times["decided_at"]), "undo_until": format_time(times["undo_until"])}
        await enqueue(
            connection,
            MailKind.MOVED,
            request.id,
            recipient=request.email,
            facts=facts,
            useless_after=times["undo_until"],
        )
        await _notify_previous_addresses(connection, membership_id, facts)
        return ConfirmedMove(membership_id, request.new_device_id)


async def _notify_previous_addresses(connection: Connection, membership_id: UUID, facts: dict[str, Any]) -> None:
    """Notify recently replaced addresses too, because a thief may have replaced them."""
    for change in await connection.fetch(QUERIES["recent_old_addresses"], membership_id):
        await enqueue(
            connection,
            MailKind.MOVED_SINCE,
            change["id"],
            recipient=change["old_email"],
            facts={**facts, "undo_until": format_time(change["undo_until"])},
            useless_after=change["undo_until"],
        )


def require_confirmable(request: Request) -> None:
    """Require that a request can still be confirmed. Raises Expired."""
    if request.state in ENDED:
        raise Expired(ENDED[request.state])
    if request.past_expiry:
        raise Expired("This link has expired")
    if request.revoked:
        raise Expired("The membership was revoked, so it cannot move")
    if request.active_thumbprint != request.old_thumbprint:
        raise Expired("The membership's device has changed since this was asked for")
