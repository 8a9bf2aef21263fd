"""Send the mails in the outbox, each at least once, until it is sent or has expired.

The worker takes a mail under a lease in a separate transaction, sends it, then marks it as sent. If the process dies in
between, the mail is taken again when the lease ends: at worst it is sent twice, with one Message-ID. After a failure
the mail waits, for a pause that doubles. Only an answer about its recipient or its content gives it up (`smtp.py`).
"""

from __future__ import annotations

import asyncio

import asyncpg
import structlog

from services.data.storage.outbox import Outbox
from services.reforge import metrics
from services.reforge.mail_messages import MailWriter
from services.reforge.outbox import BATCH_LIMIT, Mail, read_mail
from services.reforge.smtp import About, MailServer, NotSent
from services.server.runtime.typed import typed_address

log = structlog.get_logger(__name__)


class MailWorker:
    """Sends the outbox. Several processes may each run one."""

    def __init__(self, outbox: Outbox, writer: MailWriter, server: MailServer, *, sender: str) -> None:
        self._outbox = outbox
        self._writer = writer
        self._server = server
        self._sender = sender
        self.news = asyncio.Event()

    def wake(self) -> None:
        """Start a round now, because a mail was committed."""
        self.news.set()

    async def once(self) -> bool:
        """Send a batch. Return True if more may be waiting. Raises DatabaseFailed."""
        sent = await self._outbox.send_batch(self._send)
        waiting, oldest_s = await self._outbox.count()
        metrics.MAIL_WAITING.set(waiting)
        metrics.OLDEST_MAIL_S.set(oldest_s)
        return sent == BATCH_LIMIT

    async def _send(self, row: asyncpg.Record) -> None:
        mail = read_mail(row)
        if mail.useless:
            await self._outbox.give_up(mail.message_id, "too late")
            return self._report(mail, "gave_up", "too late")
        try:
            recipient = typed_address(mail.recipient)
            await self._server.send(self._writer.write(mail), sender=self._sender, recipient=recipient)
        except NotSent as problem:
            metrics.MAIL_FAILURES.labels(problem.stage or "connection", problem.about).inc()
            if problem.about is About.US:
                # No owner gets mail until an operator fixes it: the sender, the login, or our reputation.
                log.error("mail_server_refuses_us", stage=problem.stage, failure=problem.failure)
            if problem.permanent:
                await self._outbox.give_up(mail.message_id, problem.failure)
                return self._report(mail, "gave_up", problem.failure)
            await self._outbox.later(mail.attempts, mail.message_id, problem.failure)
            return self._report(mail, "failed", problem.failure)
        await self._outbox.done(mail.message_id)
        return self._report(mail, "sent", "")

    def _report(self, mail: Mail, outcome: str, failure: str) -> None:
        metrics.MAILS.labels(mail.kind, outcome).inc()
        log.info(
            "mail", outcome=outcome, mail=str(mail.message_id), kind=mail.kind, attempt=mail.attempts, failure=failure
        )
