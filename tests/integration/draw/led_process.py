"""Processes that take draws from step to step: `python -m tests.integration.draw.led_process DATABASE_URL FAILPOINTS`.

For each line of its input, it forks a process that works until nothing is left to do or a failpoint kills it, and
writes the exit code. To import everything takes a second, so it is done once.
"""

from __future__ import annotations

import asyncio
import os
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


def main() -> None:
    url, faults = sys.argv[1:]
    exit_codes = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # logs
    for _ in sys.stdin:
        child = os.fork()
        if child == 0:
            failpoints.switch_on(Path(faults))
            asyncio.run(lead(url))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), file=exit_codes, flush=True)


if __name__ == "__main__":
    main()
