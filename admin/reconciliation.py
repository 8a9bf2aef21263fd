"""Compare Apple's histories of refunds with our notifications, when an operator asks for it."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

from admin.settings import ReconcileSettings
from services.data.audit_log import Actor, audited
from services.data.storage.database import Database
from services.mint.receipt_kinds import ReceiptKinds, add_app_store
from services.mint.receipts.settings import accepted_kinds
from services.mint.refunds.reconciliation import Reconciler


async def reconcile_refunds(database: Database, actor: Actor, *, days: int, purchases: int) -> list[dict[str, Any]]:
    """Apply the refunds that we missed; one row for each environment, none where no key for Apple's API is set.

    `days` of the notification history are read, and the refund history of at most `purchases` purchases. A row with a
    `problem` ended early, and what was found before is applied. Raises WrongSetting, Retryable, DatabaseUnavailable.
    """
    settings, kinds = ReconcileSettings(), ReceiptKinds()
    async with AsyncExitStack() as closing:
        if "app-store" in accepted_kinds(settings):
            await add_app_store(kinds, settings, closing, production=settings.vyris_env == "production")
        reconciler = Reconciler(database, kinds.app_store_notices, kinds.app_store_histories, interval_s=0)
        rows = [found.as_row() for found in await reconciler.by_command(days, purchases)]
    # The entry comes last, because each refund has a transaction and an entry of its own.
    await audited(
        database,
        lambda connection: actor.note(connection, "receipts.reconcile", "App Store", days=days, findings=rows),
    )
    return rows
