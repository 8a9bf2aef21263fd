"""Sends what the outbox holds, at least once, until it is sent or of no use any more.

A mail is taken under a lease in a transaction of its own, handed to the server, then
marked. Killed in between, the mail is taken again when the lease ends: sent twice at
worst, with one Message-ID. A failure postpones the mail by a pause that doubles. Only an
answer about its recipient or its content ends it at once (`smtp.py`).
"""

from __future__ import annotations

import asyncio

import structlog

from services.reforge import metrics
from services.reforge.mail_messages import MailWriter
from services.reforge.outbox import BATCH_LIMIT, Mail, Outbox
from services.reforge.smtp import About, MailServer, NotSent
from services.runtime.typed import typed_address
from services.storage.rounds import repeat

log = structlog.get_logger(__name__)


class MailWorker:
    """One task that empties the outbox."""

    def __init__(self, outbox: Outbox, writer: MailWriter, server: MailServer, *, sender: str, poll_s: float) -> None:
        self._outbox = outbox
        self._writer = writer
        self._server = server
        self._sender = sender
        self._poll_s = poll_s
        self._news = asyncio.Event()

    def wake(self) -> None:
        """Look at the outbox now: something was committed."""
        self._news.set()

    async def run(self) -> None:
        """Send until cancelled."""
        await repeat(
            self._send_batch,
            interval_s=self._poll_s,
            failure_event="mail_worker_failed",
            news=self._news,
            hides_errors=True,
        )

    async def _send_batch(self) -> bool:
        """Whether more may be waiting."""
        mails = await self._outbox.take()
        await asyncio.gather(*(self._send(mail) for mail in mails))
        waiting, oldest_s = await self._outbox.waiting()
        metrics.MAIL_WAITING.set(waiting)
        metrics.OLDEST_MAIL_S.set(oldest_s)
        return len(mails) == BATCH_LIMIT

    async def _send(self, mail: Mail) -> None:
        if mail.useless:
            await self._outbox.gave_up(mail, "too late")
            return self._note(mail, "gave_up", "too late")
        try:
            recipient = typed_address(mail.recipient)
            await self._server.send(self._writer.write(mail), sender=self._sender, recipient=recipient)
        except NotSent as problem:
            metrics.MAIL_FAILURES.labels(problem.stage or "connection", problem.about).inc()
            if problem.about is About.US:
                # No owner gets mail until somebody mends it: the sender, the login, or our name at that server.
                log.error("mail_server_refuses_us", stage=problem.stage, failure=problem.failure)
            if problem.permanent:
                await self._outbox.gave_up(mail, problem.failure)
                return self._note(mail, "gave_up", problem.failure)
            await self._outbox.failed(mail, problem.failure)
            return self._note(mail, "failed", problem.failure)
        await self._outbox.sent(mail)
        return self._note(mail, "sent", "")

    def _note(self, mail: Mail, outcome: str, failure: str) -> None:
        metrics.MAILS.labels(mail.kind, outcome).inc()
        log.info(
            "mail", outcome=outcome, mail=str(mail.message_id), kind=mail.kind, attempt=mail.attempts, failure=failure
        )
