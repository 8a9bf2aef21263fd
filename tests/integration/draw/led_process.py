"""A process that leads draws: `python -m tests.integration.draw.led_process DATABASE_URL FAILPOINTS_FILE`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from services.data.storage.database import Database
from services.data.storage.settings import PostgresSettings
from services.draw.chains import QUICKNET
from services.draw.relays import Relays
from services.draw.worker import Beacons, DrawWorker
from services.server import failpoints
from tests.integration.draw.conftest import BEACON, SIGNER


async def lead(url: str) -> None:
    async with Database.open(PostgresSettings(database_url=url), "vyris-mint") as database:
        worker = DrawWorker(database, Beacons(Relays(QUICKNET, []), BEACON), SIGNER)
        while await worker.once():
            pass


if __name__ == "__main__":
    failpoints.switch_on(Path(sys.argv[2]))
    asyncio.run(lead(sys.argv[1]))
