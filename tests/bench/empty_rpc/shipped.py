# ruff: noqa: ARG002 - every RPC takes (request, call)
"""`python -m tests.bench.empty_rpc.shipped`: the ceiling.

`MintService/Mint` and `HoldService/TakeHold` with nothing in them, served by the very process, boundary and messages of
the suite. What a mint or a hold takes longer than this is the share of the mint service and the databases.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from google.api.httpbody_pb2 import HttpBody
from google.protobuf.message import Message
from pydantic import Field

from services.server.runtime.boundary import Endpoint
from services.server.runtime.call import Call
from services.server.runtime.process import Hosted, run
from services.server.runtime.settings import ServiceSettings, load
from tests.bench.empty_rpc.answer import held, minted
from vyris.errors import NotFound
from vyris.holds.v1 import holds_pb2
from vyris.mint.v1 import mint_pb2
from vyris.suite.v1 import suite_pb2


class EmptySettings(ServiceSettings):
    """Where to listen."""

    mint_port: int = Field(ge=1, le=65_535)


class EmptyMint:
    """Answers as a mint does, and does nothing."""

    async def mint(self, request: mint_pb2.MintRequest, call: Call) -> mint_pb2.MintResponse:
        return minted(request.tier, request.year)

    def __getattr__(self, name: str) -> object:
        """Nobody asks for the service's other RPCs here."""
        if name.startswith("_"):
            raise AttributeError(name)
        return _refuse


async def _refuse(request: object, call: Call) -> Message:
    raise NotFound


class EmptyHolds:
    """Answers as a hold is answered, and does nothing."""

    async def take_hold(self, request: holds_pb2.TakeHoldRequest, call: Call) -> holds_pb2.TakeHoldResponse:
        return held(request.tier, request.year)

    def __getattr__(self, name: str) -> object:
        """Nobody asks for the service's other RPCs here."""
        if name.startswith("_"):
            raise AttributeError(name)
        return _refuse


class AlwaysHealthy:
    """Answers what the gateway's readiness asks."""

    async def get_health(self, request: suite_pb2.GetHealthRequest, call: Call) -> HttpBody:
        return HttpBody(content_type="application/json", data=b'{"status":"ok"}')


async def _ready() -> bool:
    return True


@asynccontextmanager
async def build(settings: EmptySettings) -> AsyncIterator[Hosted]:
    """The three endpoints."""
    yield Hosted(
        endpoints=[
            Endpoint(mint_pb2.DESCRIPTOR.services_by_name["MintService"], EmptyMint()),
            Endpoint(holds_pb2.DESCRIPTOR.services_by_name["HoldService"], EmptyHolds()),
            Endpoint(suite_pb2.DESCRIPTOR.services_by_name["SuiteService"], AlwaysHealthy()),
        ],
        ready=_ready,
    )


if __name__ == "__main__":
    empty_settings = load(EmptySettings)
    run("empty-rpc", empty_settings, empty_settings.mint_port, build)
