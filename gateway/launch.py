"""Write the configuration for Envoy, and check it with Envoy itself."""

from __future__ import annotations

import subprocess
from pathlib import Path

from gateway.bootstrap import as_json, bootstrap
from gateway.command_line import envoy_binary
from gateway.routes import load_descriptors
from gateway.settings import GatewaySettings
from gateway.tls import refuse_unusable_files, secret_file, secrets


class UnfitConfiguration(RuntimeError):
    """The configuration is unusable. The message has the reason: Envoy's own message if Envoy refuses it."""


def write_configuration(settings: GatewaySettings, output: Path) -> None:
    """Write the configuration to `output`, and the files that name the certificates.

    Raises UnfitConfiguration for unusable files.
    """
    try:
        _write(settings, output)
    except (OSError, ValueError) as problem:
        raise UnfitConfiguration(str(problem)) from problem


def _write(settings: GatewaySettings, output: Path) -> None:
    refuse_unusable_files(settings)
    if "gateway_secrets_dir" not in settings.model_fields_set:
        settings = settings.model_copy(update={"gateway_secrets_dir": output.resolve().parent})
    output.parent.mkdir(parents=True, exist_ok=True)
    for name, content in secrets(settings).items():
        secret_file(settings.gateway_secrets_dir, name).write_text(as_json(content), encoding="utf-8")
    output.write_text(as_json(bootstrap(settings, load_descriptors())), encoding="utf-8")


def check_with_envoy(configuration: Path) -> None:
    """Check the file with Envoy. Raises UnfitConfiguration if Envoy refuses it."""
    command = [envoy_binary(), "--mode", "validate", "--config-path", str(configuration), "--log-level", "warning"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if result.returncode != 0:
        raise UnfitConfiguration(result.stderr.strip() or result.stdout.strip())
