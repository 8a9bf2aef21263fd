"""The wallet process: `python -m services.wallet`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from services.data.storage.database import Database
from services.identity.device_proof import DeviceProofs
from services.identity.user_tokens import opened_user_tokens
from services.server.runtime.background import Loop
from services.server.runtime.boundary import Endpoint
from services.server.runtime.process import Hosted, run
from services.server.runtime.settings import load
from services.wallet.apns import ApnsClient
from services.wallet.google_wallet import google_issuer
from services.wallet.housekeeping import INTERVAL_S, Housekeeping
from services.wallet.membership_events import EventFollower
from services.wallet.package import PassPress
from services.wallet.push_outbox import PAUSE_AFTER_FAILURE_S, PushOutbox
from services.wallet.servicer import SERVICE, WalletServicer
from services.wallet.settings import WalletSettings
from services.wallet.signing import SigningCredentials
from services.wallet.signing_room import SigningRoom
from services.wallet.signing_setup import announce_expiry, apns_origin, credentials_from, issuer_from, tokens_from
from services.wallet.web_service import PassWebService


@asynccontextmanager
async def build(settings: WalletSettings) -> AsyncIterator[Hosted]:
    """Build the wallet process, and stop its tasks at the end."""
    credentials = credentials_from(settings)
    announce_expiry(credentials)
    tokens = tokens_from(settings)
    async with AsyncExitStack() as closing:
        user_tokens = await closing.enter_async_context(opened_user_tokens(settings, production=settings.production))
        database = await closing.enter_async_context(Database.open(settings, "vyris-wallet"))
        apns = await _apns(settings, credentials, closing)
        outbox = PushOutbox(database, apns, attempt_limit=settings.push_attempt_limit)
        follower = EventFollower(database)
        push_interval_s, event_interval_s = settings.push_interval_ms / 1000, settings.event_interval_ms / 1000
        servicer = WalletServicer(
            database,
            SigningRoom(PassPress(issuer_from(settings), credentials), settings.pass_queue_limit),
            tokens,
            DeviceProofs(settings.device_proof, settings.public_base_url),
            PassWebService(database, tokens, settings.pass_type_identifier),
            google_issuer(settings),
        )
        pause_s = PAUSE_AFTER_FAILURE_S
        yield Hosted(
            endpoints=[Endpoint(SERVICE, servicer)],
            ready=lambda: database.holds("passes"),
            authenticate=user_tokens,
            background=[
                Loop("pushes", run=outbox.once, every_s=push_interval_s, after_failure_s=pause_s),
                Loop("membership_events", run=follower.once, every_s=event_interval_s, after_failure_s=pause_s),
                Loop("housekeeping", run=Housekeeping(database).once, every_s=INTERVAL_S, hides_errors=True),
            ],
        )


async def _apns(
    settings: WalletSettings, credentials: SigningCredentials, closing: AsyncExitStack
) -> ApnsClient | None:
    origin = apns_origin(settings, credentials)
    if origin is None:
        return None
    trusted = Path(settings.apns_ca) if settings.apns_ca else None
    return await closing.enter_async_context(
        ApnsClient(origin, credentials, settings.pass_type_identifier, trusted=trusted)
    )


if __name__ == "__main__":
    wallet_settings = load(WalletSettings)
    run("wallet", wallet_settings, wallet_settings.wallet_port, build)
