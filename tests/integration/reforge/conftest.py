"""One reforge process for the tests of this folder; tests use memberships of their own."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from stack.local import Stack
from tests.fresh_database import fresh_database
from tests.stand_ins.reforge_service import World, world


@pytest.fixture(scope="session")
async def reforge(database_template: Stack) -> AsyncIterator[World]:
    """Settings of development."""
    async with fresh_database(database_template.database_url) as url:
        with tempfile.TemporaryDirectory(prefix="vyris-reforge-") as folder:
            async with world(url, Path(folder)) as running:
                yield running


@pytest.fixture(scope="session")
async def reforge_with_code(database_template: Stack) -> AsyncIterator[World]:
    """Unproven requests need the new device's code, as in production."""
    async with fresh_database(database_template.database_url) as url:
        with tempfile.TemporaryDirectory(prefix="vyris-reforge-") as folder:
            async with world(url, Path(folder), REFORGE_CODE="on") as running:
                yield running
