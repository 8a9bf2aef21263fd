"""The mint process: `python -m services.mint`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from services.device_proof import DeviceProofs
from services.draw.development_beacon import development_beacon
from services.draw.engine import running_draws
from services.draw.servicer import DrawServicer
from services.draw.signing import read_signer
from services.holds.engine import running_holds
from services.holds.proven_keys import ProvenKeys
from services.holds.servicer import HoldServicer
from services.limits import PersonKeys
from services.mint.drop_watch import DropWatch
from services.mint.drops import DropDirectory
from services.mint.engine import running_engine
from services.mint.enrolment import Enrolment
from services.mint.notifications import Notifications
from services.mint.receipt_kinds import ready_kinds
from services.mint.receipts.verifiers import ReceiptVerifiers
from services.mint.refunds.application import Refunds
from services.mint.refunds.reconciliation import Reconciler
from services.mint.servicer import MintServicer
from services.mint.settings import MintSettings
from services.mint.suite_health import PeersProbe, SuiteHealth
from services.runtime.boundary import Endpoint
from services.runtime.process import Hosted, run
from services.runtime.settings import load
from services.runtime.tls import certificates
from services.storage.database import Database
from services.user_tokens import opened_user_tokens
from vyris.draw.v1 import draw_pb2
from vyris.encounter.v1 import encounter_pb2
from vyris.holds.v1 import holds_pb2
from vyris.mint.v1 import mint_pb2
from vyris.reforge.v1 import reforge_pb2
from vyris.suite.v1 import suite_pb2
from vyris.wallet.v1 import wallet_pb2

PEERS: Final = {
    "encounter": encounter_pb2.DESCRIPTOR.services_by_name["EncounterService"],
    "wallet": wallet_pb2.DESCRIPTOR.services_by_name["WalletService"],
    "reforge": reforge_pb2.DESCRIPTOR.services_by_name["ReforgeService"],
}


@asynccontextmanager
async def build(settings: MintSettings) -> AsyncIterator[Hosted]:
    """Everything that the mint process serves, and its end."""
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
        peers = {
            name: PeersProbe(addresses, PEERS[name].full_name, certificates(settings))
            for name, addresses in settings.peer_addresses().items()
        }

        async def can_serve() -> bool:
            return await database.holds("receipt_ledger")

        health = SuiteHealth({"mint": can_serve, **peers}, bouncer.reachable)
        reconciler = Reconciler(
            database, kinds.app_store_notices, kinds.app_store_histories, settings.app_store_reconcile_interval_s
        )
        beside = [asyncio.create_task(work.run()) for work in (health, reconciler)]
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
                described=list(PEERS.values()),
            )
        finally:
            for work in beside:
                work.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
            for peer in peers.values():
                peer.close()


if __name__ == "__main__":
    mint_settings = load(MintSettings)
    run("mint", mint_settings, mint_settings.mint_port, build)
