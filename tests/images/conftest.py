from __future__ import annotations

import pytest

from stack.local import Stack
from tests.images.containers import Containers, missing
from tests.neighbours.through import CONTAINERS


@pytest.fixture(scope="session", autouse=True)
def _images_were_chosen(pytestconfig: pytest.Config) -> None:
    """Skip before a stack is started."""
    if pytestconfig.getoption("--through") != "images":
        pytest.skip("takes minutes: `make test-images`")
    if reason := missing():
        pytest.skip(reason)


@pytest.fixture
def containers(stack: Stack, pytestconfig: pytest.Config) -> Containers:
    """The containers that the stack runs in."""
    return pytestconfig.stash[CONTAINERS]
