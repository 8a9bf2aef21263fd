"""One Envoy and four servers for all tests that need no settings of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from tests.integration.gateway.peers import Gateway, Services, make_settings, running_gateway, running_services
from tests.plain_http import NO_TLS


@pytest.fixture(scope="session")
async def _shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Services, Gateway]]:
    folder = tmp_path_factory.mktemp("gateway")
    async with running_services() as services, running_gateway(folder, make_settings(folder, services)) as gateway:
        yield services, gateway


@pytest.fixture
def services(_shared: tuple[Services, Gateway]) -> Services:
    """The servers, reset to success."""
    _shared[0].reset()
    return _shared[0]


@pytest.fixture
def gateway(_shared: tuple[Services, Gateway]) -> Gateway:
    return _shared[1]


@pytest.fixture
async def json_api(gateway: Gateway) -> AsyncIterator[httpx.AsyncClient]:
    """A caller of the JSON listener."""
    async with httpx.AsyncClient(base_url=gateway.url, timeout=10, verify=NO_TLS) as client:
        yield client
