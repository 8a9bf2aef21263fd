"""Calls by operators. They need reforge, because only reforge has the key of the links in mails."""

from __future__ import annotations

from typing import Final

from services.identity.ownership import known_membership_id
from services.reforge.mail_worker import MailWorker
from services.reforge.operator_email_changes import OperatorEmailChanges
from services.server.runtime.call import Call
from services.server.runtime.fields import email_address, refuse_nul
from services.server.runtime.times import rfc3339
from services.server.runtime.tls import has_name_of
from vyris.bounds import limit_of
from vyris.errors import InvalidRequest, Unauthorized
from vyris.reforge.v1 import operator_pb2

ACTOR_LIMIT: Final = limit_of(operator_pb2.ChangeOwnerEmailRequest, "actor")
REASON_LIMIT: Final = limit_of(operator_pb2.ChangeOwnerEmailRequest, "reason")


class OperatorServicer:
    """`vyris.reforge.v1.OperatorService`. The gateway does not route it."""

    def __init__(
        self, email_changes: OperatorEmailChanges, mail: MailWorker, *, delay_h: int, operators: frozenset[str] | None
    ) -> None:
        """`operators`: names of the client certificates that may call; None: every caller of this port may."""
        self._email_changes = email_changes
        self._mail = mail
        self._delay_h = delay_h
        self._operators = operators

    async def change_owner_email(
        self,
        request: operator_pb2.ChangeOwnerEmailRequest,
        call: Call,
    ) -> operator_pb2.ChangeOwnerEmailResponse:
        """Change an owner's address. Raises Unauthorized, InvalidRequest, NotFound."""
        if self._operators is not None and not has_name_of(self._operators, call):
            raise Unauthorized(
                "Reforge serves operators over mutual TLS alone: name their certificates in REFORGE_OPERATOR_NAMES"
            )
        refuse_nul(request.membership_id, request.email, request.actor, request.reason)
        change = await self._email_changes.change_by_operator(
            known_membership_id(request.membership_id),
            email_address(request.email),
            operator=_parse_text("actor", request.actor, ACTOR_LIMIT),
            reason=_parse_text("reason", request.reason, REASON_LIMIT),
            delay_h=self._delay_h,
        )
        self._mail.wake()
        return operator_pb2.ChangeOwnerEmailResponse(
            status="APPLIED" if change.applied else "SCHEDULED", effective_at=rfc3339(change.effective_at)
        )


def _parse_text(name: str, text: str, limit: int) -> str:
    stripped = text.strip()
    if not stripped or len(stripped) > limit or not stripped.isprintable():
        raise InvalidRequest(f"{name} must be 1 to {limit} printable characters")
    return stripped
