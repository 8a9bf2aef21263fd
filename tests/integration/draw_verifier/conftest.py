from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.draw_verifier.public_draw import DrawServer, PublicDraw, serving


@pytest.fixture(scope="session")
def honest_draw() -> PublicDraw:
    return PublicDraw()


@pytest.fixture(scope="session")
def smaller_draw() -> PublicDraw:
    """Three pages of leaves, and alternates: what a forgery needs, at a fifth of the work."""
    return PublicDraw(2_100)


@pytest.fixture
def server() -> Iterator[DrawServer]:
    with serving() as server:
        yield server
