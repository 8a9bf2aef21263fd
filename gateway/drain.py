"""Stop the gateway without losing a request: accept no new connections, answer open requests, then end.

Without this, Envoy ends at once on SIGTERM, also with open requests.
"""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Final

import httpx

from gateway.command_line import drain_arguments, envoy_arguments
from gateway.launch import write_configuration
from gateway.settings import GatewaySettings

POLITE_S: Final = 3
_POLL_S: Final = 0.1
# A request may be in flight on an open connection.
_QUIET_POLLS: Final = 3
_ACTIVE_REQUESTS: Final = "^http\\.(json|grpc)\\.downstream_rq_active$"


class StopAsked(Exception):
    """Raised on SIGTERM or SIGINT."""


def active_requests(admin: httpx.Client) -> int:
    """The number of callers' requests that Envoy has not answered yet."""
    answer = admin.get("/stats", params={"filter": _ACTIVE_REQUESTS, "format": "json"})
    return sum(entry.get("value", 0) for entry in json.loads(answer.text)["stats"])


def drain(settings: GatewaySettings) -> bool:
    """Let Envoy finish open requests. Return whether it did within `GATEWAY_DRAIN_S`."""
    until_s = time.monotonic() + settings.gateway_drain_s
    with httpx.Client(base_url=f"http://127.0.0.1:{settings.envoy_admin_port}", timeout=2) as admin:
        admin.post("/healthcheck/fail")
        admin.post("/drain_listeners?graceful&skip_exit")
        quiet = 0
        while quiet < _QUIET_POLLS:
            if time.monotonic() >= until_s:
                return False
            time.sleep(_POLL_S)
            quiet = 0 if active_requests(admin) else quiet + 1
    return True


@contextmanager
def _stop_signals() -> Iterator[None]:
    def ask(_number: int, _frame: FrameType | None) -> None:
        raise StopAsked

    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ignore_signals() -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def run(settings: GatewaySettings, configuration: Path) -> int:
    """Write the configuration and serve until SIGTERM or SIGINT. Return Envoy's exit status; 0 after a drain."""
    write_configuration(settings, configuration)
    with _stop_signals():
        process = subprocess.Popen(
            [
                *envoy_arguments(configuration, concurrency=settings.gateway_concurrency),
                *drain_arguments(min(POLITE_S, settings.gateway_drain_s)),
            ]
        )
        try:
            return process.wait()
        except StopAsked:
            _ignore_signals()
            with suppress(httpx.HTTPError):  # Envoy may be gone, or not up yet
                drain(settings)
            process.terminate()
            process.wait()
            return 0
