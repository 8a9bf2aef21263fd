"""Where servers of the tests' own making hear what gRPC core has done."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from services.server.grpc_server.completions import Completions


@pytest.fixture
async def completions() -> AsyncIterator[Completions]:
    with Completions(asyncio.get_running_loop()) as running:
        yield running
