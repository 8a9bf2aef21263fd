"""With `GRPC_SERVER=aio` a service starts though grpcio's internal module has changed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stack.probes import serves_grpc
from tests.ports import free_port

# As after a release that has renamed what core.py imports.
PROGRAM = """
import runpy, sys
sys.modules["services.server.grpc_server.core"] = None
runpy.run_module("services.encounter", run_name="__main__")
"""
NAME = "vyris.encounter.v1.EncounterService"


@pytest.mark.parametrize(("grpc_server", "serves"), [("aio", True), ("core", False)])
def test_a_service_needs_the_private_module_for_its_own_server_alone(
    database_url: str, redis_url: str, tmp_path: Path, grpc_server: str, serves: bool
) -> None:
    port = free_port()
    environment = {
        "PATH": os.environ["PATH"],
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "VYRIS_STATE_DIR": str(tmp_path / "state"),
        "ENCOUNTER_PORT": str(port),
        "GRPC_SERVER": grpc_server,
    }
    with (tmp_path / "log").open("wb") as log:
        command = [sys.executable, "-c", PROGRAM]
        process = subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 30
        while process.poll() is None and not serves_grpc(port, NAME):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert (process.poll() is None) == serves
        process.send_signal(signal.SIGTERM)
        assert (process.wait(timeout=20) == 0) == serves
    finally:
        process.kill()
    if serves:
        lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
        assert [line["event"] for line in lines][-1] == "stopped"
