"""The reforge process: `python -m services.reforge`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from services.data.storage.database import Database
from services.identity.device_proof import DeviceProofs
from services.identity.user_tokens import opened_user_tokens
from services.reforge.confirmation import Confirmation
from services.reforge.delays import Delays
from services.reforge.device_email_changes import DeviceEmailChanges
from services.reforge.housekeeping import INTERVAL_S, Housekeeping
from services.reforge.initiation import Initiation
from services.reforge.mail_messages import MailWriter
from services.reforge.mail_worker import MailWorker
from services.reforge.moves import Moves
from services.reforge.operator_email_changes import OperatorEmailChanges
from services.reforge.operator_servicer import OperatorServicer
from services.reforge.outbox import mail_outbox
from services.reforge.page_servicer import PageServicer
from services.reforge.pages import Pages
from services.reforge.reversal import Reversal
from services.reforge.servicer import ReforgeServicer
from services.reforge.settings import ReforgeSettings, sender_of, token_key
from services.reforge.smtp import MailServer
from services.reforge.tokens import TokenKey
from services.server.runtime.background import Loop
from services.server.runtime.boundary import Endpoint
from services.server.runtime.process import Hosted, run
from services.server.runtime.settings import load
from services.server.runtime.tls import parse_names
from vyris.reforge.v1 import operator_pb2, reforge_pb2

log = structlog.get_logger(__name__)


@asynccontextmanager
async def build(settings: ReforgeSettings) -> AsyncIterator[Hosted]:
    """Build everything that the reforge process serves, and close it at the end."""
    settings.refuse_conveniences()
    keys = token_key(settings)
    async with (
        opened_user_tokens(settings, production=settings.production) as user_tokens,
        Database.open(settings, "vyris-reforge") as database,
    ):
        mail = _mail_worker(database, settings, keys)
        house = Housekeeping(
            database,
            _delays(settings),
            mail_retention_d=settings.mail_retention_d,
            request_retention_d=settings.reforge_retention_d,
        )
        background = [Loop("housekeeping", run=house.once, every_s=INTERVAL_S, hides_errors=True)]
        if settings.smtp_url:
            poll_s = settings.mail_poll_ms / 1000
            background.append(Loop("mail", run=mail.once, every_s=poll_s, wake=mail.news, hides_errors=True))
        else:
            log.warning("mail_waits", reason="SMTP_URL is not set")
        yield Hosted(
            endpoints=_endpoints(database, settings, keys, mail),
            ready=lambda: database.holds("reforge_requests"),
            authenticate=user_tokens,
            background=background,
        )


def _endpoints(database: Database, settings: ReforgeSettings, keys: TokenKey, mail: MailWorker) -> list[Endpoint]:
    proofs = DeviceProofs(settings.device_proof, settings.public_base_url)
    delays = _delays(settings)
    confirmation, reversal = Confirmation(database, keys, delays), Reversal(database, proofs, delays)
    email_changes = DeviceEmailChanges(database, keys, proofs, delays, limit_per_hour=settings.reforge_email_limit)
    servicer = ReforgeServicer(
        database,
        Initiation(database, settings, keys, proofs),
        confirmation,
        reversal,
        email_changes,
        Moves(database, proofs),
        mail,
    )
    pages = PageServicer(database, confirmation, reversal, email_changes, Pages(), mail)
    operators = OperatorServicer(
        OperatorEmailChanges(database, keys),
        mail,
        delay_h=settings.reforge_email_delay_h,
        operators=_operators(settings),
    )
    return [
        Endpoint(reforge_pb2.DESCRIPTOR.services_by_name["ReforgeService"], servicer, beside=pages),
        Endpoint(operator_pb2.DESCRIPTOR.services_by_name["OperatorService"], operators),
    ]


def _operators(settings: ReforgeSettings) -> frozenset[str] | None:
    """The certificate names of operators. None (development only): every caller counts as an operator."""
    names = parse_names(settings.reforge_operator_names)
    return names if names or settings.production else None


def _delays(settings: ReforgeSettings) -> Delays:
    return Delays(undo_h=settings.reforge_undo_h, email_h=settings.reforge_email_delay_h)


def _mail_worker(database: Database, settings: ReforgeSettings, keys: TokenKey) -> MailWorker:
    sender = sender_of(settings.reforge_from_email)
    outbox = mail_outbox(
        database,
        lease_s=settings.mail_lease_ms / 1000,
        first_pause_s=settings.mail_retry_ms / 1000,
        longest_pause_s=settings.mail_retry_limit_ms / 1000,
    )
    return MailWorker(
        outbox,
        MailWriter(keys, base_url=settings.reforge_base_url, sender=sender),
        MailServer(settings.smtp_url, settings.mail_timeout_ms / 1000),
        sender=sender.addr_spec,
    )


if __name__ == "__main__":
    reforge_settings = load(ReforgeSettings)
    run("reforge", reforge_settings, reforge_settings.reforge_port, build)
