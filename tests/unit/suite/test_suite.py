"""The suite's data is complete, and everything derived from it is consistent."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

from cli.settings_reference import READERS
from gateway.routes import load_descriptors
from gateway.settings import GatewaySettings
from services.mint.__main__ import PEERS
from services.mint.settings import MintSettings
from stack.settings import StackSettings
from suite import NAMES, PROCESS_OF_PACKAGE, SUITE

REPOSITORY = Path(__file__).resolve().parents[3]


def test_names_and_ports_are_unique() -> None:
    assert len(set(NAMES)) == len({service.port for service in SUITE}) == len(SUITE)


def test_every_service_has_a_process_and_its_health_is_named_after_it() -> None:
    for service in SUITE:
        assert find_spec(f"services.{service.name}.__main__")
        assert service.full_name == f"vyris.{service.name}.v1.{service.name.capitalize()}Service"


def test_every_grpc_service_of_the_protos_has_a_process() -> None:
    files = [file for file in load_descriptors().file if file.package.startswith("vyris.") and file.service]
    named = {f"{file.package}.{service.name}" for file in files for service in file.service}
    assert named == {descriptor.full_name for service in SUITE for descriptor in service.descriptors}
    assert {file.package for file in files} == PROCESS_OF_PACKAGE.keys()


def test_every_reader_has_the_same_default_port() -> None:
    for service in SUITE:
        for reader in (READERS[service.name], GatewaySettings, StackSettings):
            assert reader.model_fields[f"{service.name}_port"].default == service.port
        assert f"{service.name}_address" in GatewaySettings.model_fields


def test_mint_probes_the_health_of_all_others() -> None:
    assert {peer.name for peer in PEERS} == set(NAMES) - {"mint"}
    for peer in PEERS:
        assert f"{peer.name}_address" in MintSettings.model_fields


def test_nothing_of_ours_but_what_callers_import_is_below_it() -> None:
    text = (REPOSITORY / "suite.py").read_text()
    ours = {path.parent.name for path in REPOSITORY.glob("*/__init__.py")}
    assert set(re.findall(r"^(?:from|import) (\w+)", text, re.MULTILINE)) & ours == {"vyris"}
