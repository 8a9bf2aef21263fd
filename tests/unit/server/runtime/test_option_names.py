"""gRPC ignores options with unknown names, so each name that we write must be one of its own."""

from __future__ import annotations

import ast
import gc
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from grpc._cython import cygrpc  # type: ignore[import-not-found]

from vyris.client.connection import channel_options

ROOT = Path(__file__).parents[4]
FOLDERS = ("admin", "cli", "deploy", "examples", "gateway", "services", "stack", "tests", "vyris")


def _options_of(path: Path) -> Iterator[str]:
    """First elements of pairs, `("grpc.so_reuseport", 0)`, and keys of dictionaries."""
    text = path.read_text(encoding="utf-8")
    if "grpc." not in text:
        return
    for node in ast.walk(ast.parse(text)):
        pair = isinstance(node, ast.Tuple | ast.List) and len(node.elts) == 2 and node.elts[0]
        for name in [pair] if pair else node.keys if isinstance(node, ast.Dict) else []:
            if isinstance(name, ast.Constant) and str(name.value).startswith("grpc."):
                yield str(name.value)


def _option_names() -> dict[str, str]:
    files = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py")) if path != Path(__file__)]
    gc.disable()  # If the collector ends a task of an earlier test meanwhile, Python 3.11 fails to parse (SystemError).
    try:
        return {name: str(path.relative_to(ROOT)) for path in files for name in _options_of(path)}
    finally:
        gc.enable()


@pytest.fixture(scope="module")
def binary() -> bytes:
    """The parts of grpcio that are not Python."""
    return Path(cygrpc.__file__).read_bytes()


def test_every_option_that_is_written_anywhere_is_one_of_grpcs(binary: bytes) -> None:
    names = _option_names()
    assert len(names) > 15
    assert {name: where for name, where in names.items() if name.encode() + b"\0" not in binary} == {}


def test_the_option_name_that_was_wrong_is_still_unknown(binary: bytes) -> None:
    """Show that the check above can fail."""
    assert b"grpc.http2.min_recv_ping_interval_without_data_ms\0" not in binary


def _keys(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        yield from node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else []:
        yield from _keys(child)


def test_every_key_of_the_clients_service_config_is_one_of_grpcs(binary: bytes) -> None:
    """It is JSON with unknown keys ignored (grpc/service_config/service_config.proto)."""
    config = json.loads(dict(channel_options())["grpc.service_config"])
    assert [key for key in set(_keys(config)) if key.encode() not in binary] == []
