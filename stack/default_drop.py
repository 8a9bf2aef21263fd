"""`python -m stack.default_drop`: creates the drop of DROP_TIER, DROP_YEAR and DROP_CAPACITY where there is none."""

from __future__ import annotations

import asyncio
import sys

import asyncpg

from services.mint.drops import NewDrop, create_drop
from services.mint.settings import MintSettings
from services.runtime.settings import load


async def ensure(settings: MintSettings) -> bool:
    """Create the default drop in one transaction; False where it exists, which is left as it is."""
    connection = await asyncpg.connect(settings.database_url)
    try:
        async with connection.transaction():
            drop = NewDrop(settings.drop_tier, settings.drop_year, settings.drop_capacity)
            return await create_drop(connection, drop) is not None  # type: ignore[arg-type]
    finally:
        await connection.close()


if __name__ == "__main__":
    mint_settings = load(MintSettings)
    created = asyncio.run(ensure(mint_settings))
    name = f"{mint_settings.drop_tier}/{mint_settings.drop_year}"
    sys.stdout.write(f"drop {name} {f'created with {mint_settings.drop_capacity} numbers' if created else 'is there'}\n")
