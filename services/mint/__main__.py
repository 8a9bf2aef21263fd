"""The mint process: `python -m services.mint`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from services.data.storage.database import Database
from services.draw.development_beacon import development_beacon
from services.draw.engine import running_draws
from services.draw.servicer import DrawServicer
from services.draw.signing import read_signer
from services.holds.engine import running_holds
from services.holds.proven_keys import ProvenKeys
from services.holds.servicer import HoldServicer
from services.identity.device_proof import DeviceProofs
from services.identity.user_tokens import opened_user_tokens
from services.limits import PersonKeys
from services.mint.drop_watch import DropWatch
from services.mint.drops import DropDirectory
from services.mint.engine import running_engine
from services.mint.enrolment import Enrolment
from services.mint.notifications import Notifications
from services.mint.receipt_kinds import ready_kinds
from services.mint.receipts.verifiers import ReceiptVerifiers
from services.mint.refunds.application import Refunds
from services.mint.refunds.reconciliation import ROUND_LIMIT_S, Reconciler
from services.mint.servicer import MintServicer
from services.mint.settings import MintSettings
from services.mint.suite_health import INTERVAL_S, PeersProbe, SuiteHealth
from services.server.runtime.background import Loop
from services.server.runtime.boundary import Endpoint
from services.server.runtime.process import Hosted, run
from services.server.runtime.settings import load
from services.server.runtime.tls import certificates
from suite import peers_of
from vyris.draw.v1 import draw_pb2
from vyris.holds.v1 import holds_pb2
from vyris.mint.v1 import mint_pb2
from vyris.suite.v1 import suite_pb2

PEERS: Final = peers_of("mint")


@asynccontextmanager
async def build(settings: MintSettings) -> AsyncIterator[Hosted]:
    """Build everything that the mint process serves, and close it at the end."""
    signer = read_signer(
        settings.draw_signing_key_file,
        settings.vyris_state_dir,
        settings.public_base_url,
        production=settings.production,
    )
    beacon = None if settings.production else development_beacon(settings.vyris_state_dir)
    async with (
        Database.open(settings, "vyris-mint") as database,
        ready_kinds(settings, production=settings.production, database=database) as kinds,
        opened_user_tokens(settings, production=settings.production) as user_tokens,
        running_engine(database, settings) as (engine, bouncer),
        running_holds(database, bouncer, DropDirectory(database), engine.recount, settings) as holds,
        running_draws(database, settings, signer, beacon) as draws,
    ):
        addresses = settings.peer_addresses()
        peers = {peer.name: PeersProbe(addresses[peer.name], peer.full_name, certificates(settings)) for peer in PEERS}

        async def can_serve() -> bool:
            return await database.holds("receipt_ledger")

        health = SuiteHealth({"mint": can_serve, **peers}, bouncer.reachable)
        reconcile_interval_s = settings.app_store_reconcile_interval_s
        reconciler = Reconciler(
            database, kinds.app_store_notices, kinds.app_store_histories, interval_s=reconcile_interval_s
        )
        drops, keys = DropDirectory(database), PersonKeys(database)
        proofs = DeviceProofs(settings.device_proof, settings.public_base_url)
        servicer = MintServicer(
            engine,
            drops,
            ReceiptVerifiers(kinds.verifiers, engine.minted_in),
            Enrolment(database, proofs, engine.minted_in),
            DropWatch(database),
            Notifications(kinds, Refunds(database)),
            keys,
            default_drop=(settings.drop_tier, settings.drop_year),
        )
        proven = ProvenKeys(keys, proofs, kinds.app_transactions)
        hold_servicer = HoldServicer(holds, drops, proven, draws)
        draw_servicer = DrawServicer(draws, drops, proven)
        try:
            yield Hosted(
                endpoints=[
                    Endpoint(mint_pb2.DESCRIPTOR.services_by_name["MintService"], servicer),
                    Endpoint(holds_pb2.DESCRIPTOR.services_by_name["HoldService"], hold_servicer),
                    Endpoint(draw_pb2.DESCRIPTOR.services_by_name["DrawService"], draw_servicer),
                    Endpoint(suite_pb2.DESCRIPTOR.services_by_name["SuiteService"], health),
                ],
                ready=can_serve,
                authenticate=user_tokens,
                described=[peer.descriptor for peer in PEERS],
                background=[
                    *engine.background,
                    *holds.background,
                    *draws.background,
                    Loop("suite_health", run=health.look, every_s=INTERVAL_S),
                    Loop(
                        "reconciliation", run=reconciler.once, every_s=reconcile_interval_s, limit_s=3 * ROUND_LIMIT_S
                    ),
                ],
            )
        finally:
            for peer in peers.values():
                peer.close()


if __name__ == "__main__":
    mint_settings = load(MintSettings)
    run("mint", mint_settings, mint_settings.mint_port, build)
