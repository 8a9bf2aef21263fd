"""`pytest --through nginx|haproxy|pgbouncer|images`: what stands before the gateway or Postgres, or runs the suite."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from stack.local import Stack
from tests.images.containers import Containers, in_containers
from tests.neighbours.balancers import NAMES, Doors, plain_balancer
from tests.neighbours.poolers import pooler, put_behind
from tests.ports import free_port
from tests.shell import chosen_settings

POOLER: Final = "pgbouncer"
IMAGES: Final = "images"
CONTAINERS: Final = pytest.StashKey[Containers]()


def add_option(parser: pytest.Parser) -> None:
    """Add `--through`."""
    parser.addoption("--through", choices=[*NAMES, POOLER, IMAGES], help="what stands between or runs the suite")


@contextlib.contextmanager
def running_stack(
    config: pytest.Config, state_dir: Path, *, environment: Mapping[str, str] | None = None, **more: Any
) -> Iterator[Stack]:
    """Run a stack of the tests, as `Stack.isolated` describes it, behind what `--through` names."""
    passed = config.getoption("--through")
    environment = {**chosen_settings(), **(environment or {})}
    if passed in NAMES:
        with _behind_balancer(passed, state_dir, environment, more) as running:
            yield running
        return
    with (
        tempfile.TemporaryDirectory(prefix="vyris-pooler-") as folder,
        Stack.isolated(state_dir, environment=environment, **more) as running,
    ):
        if passed is None:
            yield running
            return
        if passed == IMAGES:
            with in_containers(running) as config.stash[CONTAINERS]:
                yield running
            return
        with pooler(running, Path(folder)) as url:
            put_behind(url, running)
            yield running


@contextlib.contextmanager
def _behind_balancer(
    balancer: str, state_dir: Path, environment: dict[str, str], more: Mapping[str, Any]
) -> Iterator[Stack]:
    own = Doors(free_port(), free_port())
    behind = {"GATEWAY_TRUSTED_HOPS": "1", "PUBLIC_BASE_URL": f"http://localhost:{own.json_port}"}
    with (
        tempfile.TemporaryDirectory(prefix="vyris-balancer-") as folder,
        Stack.isolated(state_dir, environment=environment | behind, **more) as running,
    ):
        gateway = Doors(running.settings.gateway_port, running.settings.gateway_grpc_port)
        with plain_balancer(balancer, Path(folder), gateway, own):
            # Callers take the addresses from here; the gateway's process keeps its own.
            ports = {"gateway_port": own.json_port, "gateway_grpc_port": own.grpc_port}
            running.settings = running.settings.model_copy(update=ports)
            yield running
