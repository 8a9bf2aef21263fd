"""The two gRPC servers, for tests of what both promise."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import get_args

import pytest

from services.server.grpc_server.choice import Kind, MakeServer, servers
from tests.unit.server.grpc_server.served import Chosen


@pytest.fixture(params=get_args(Kind))
def grpc_server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Kind:
    """Run the test with each server: `served` starts it."""
    kind: Kind = request.param
    monkeypatch.setattr(Chosen, "kind", kind)
    return kind


@pytest.fixture
async def make_server(grpc_server: Kind) -> AsyncIterator[MakeServer]:
    """What makes servers of the kind."""
    with servers(grpc_server) as make:
        yield make
