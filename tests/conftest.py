"""Real servers for tests: the two databases alone, or the whole suite behind its gateway.

`database_url` and `redis_url` are empty and a test's own; `databases` and `stack` live as long as the run.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path

import hypothesis
import pytest
import redis.asyncio as redis
import structlog
from hypothesis.configuration import set_hypothesis_home_dir

from stack.local import DATABASES, Stack
from tests.alone import Machine, shared_machine
from tests.fresh_database import create_template, fresh_database
from tests.neighbours import through
from tests.quick_folder import quick_folder
from tests.shell import REPOSITORY, choose_grpc_server, clear_settings, keep_bytecode

MACHINE = pytest.StashKey[Machine]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the tests."""
    through.add_option(parser)
    parser.addoption("--grpc-server", choices=("core", "aio"), help="the gRPC server of the services in all tests")


def pytest_configure(config: pytest.Config) -> None:
    """Runs before the tests' modules are imported, because some of them read settings then."""
    clear_settings()
    keep_bytecode()
    if kind := config.getoption("--grpc-server"):
        choose_grpc_server(kind)
    set_hypothesis_home_dir(REPOSITORY / ".hypothesis")
    # No deadline: it would only measure how busy the other worker is.
    hypothesis.settings.register_profile("suite", deadline=None, max_examples=150)
    hypothesis.settings.register_profile("quick", deadline=None, max_examples=15)
    hypothesis.settings.load_profile(config.getoption("--hypothesis-profile") or "suite")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Wait for a share of the machine before the time limit of the test begins."""
    if not hasattr(item.config, "workerinput"):
        return (yield)
    with shared_machine(Path(item.config.option.basetemp).parent) as machine:
        item.stash[MACHINE] = machine
        return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Have the machine for a test that is alone; its fixtures are made and ended beside other tests."""
    machine = item.stash.get(MACHINE, None)
    if machine is None or item.get_closest_marker("alone") is None:
        return (yield)
    with machine.alone():
        return (yield)


@pytest.fixture(scope="session", autouse=True)
def _empty_working_folder() -> Iterator[None]:
    """Run in a folder without `.env`: settings and the processes of tests read the one of their working folder."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="vyris-tests-") as folder:
        os.chdir(folder)
        yield
        os.chdir(before)


@pytest.fixture(autouse=True)
def _log_as_by_default() -> None:
    """Reset structlog's configuration by the command line, which an earlier test may have run in this process."""
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def databases() -> Iterator[Stack]:
    """Postgres and Valkey, without services."""
    with (
        quick_folder("vyris-databases-") as folder,
        Stack.isolated(folder / "state", only=DATABASES) as running,
    ):
        yield running


@pytest.fixture(scope="session")
async def database_template(databases: Stack) -> Stack:
    """The databases with a migrated template in Postgres."""
    await create_template(databases.database_url)
    return databases


@pytest.fixture
async def database_url(database_template: Stack) -> AsyncIterator[str]:
    """URL of a migrated, empty database that only this test uses (asyncpg, libpq)."""
    async with fresh_database(database_template.database_url) as url:
        yield url


@pytest.fixture
async def redis_url(databases: Stack) -> str:
    """URL of an empty Valkey."""
    async with redis.from_url(databases.redis_url) as client:
        await client.flushall()
    return databases.redis_url


@pytest.fixture(scope="session")
def stack(pytestconfig: pytest.Config) -> Iterator[Stack]:
    """The whole suite behind its gateway; a test that breaks something repairs it."""
    with (
        tempfile.TemporaryDirectory(prefix="vyris-stack-") as folder,
        # Two mint processes: each promise must also hold between them.
        through.running_stack(pytestconfig, Path(folder) / "state", replicas={"mint": 2}) as running,
    ):
        yield running
