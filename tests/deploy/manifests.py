"""The manifests as `kubectl kustomize` makes them, for the tests that check them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
DEPLOY = REPOSITORY / "deploy"
OVERLAYS = ("dev", "prod", "example-databases")
# Kinds of operators, which check their form themselves.
OPERATORS_KINDS = {"Cluster", "ScheduledBackup", "RedisCluster"}

Manifest = dict[str, Any]


def tool(name: str) -> str:
    """A command of this Python environment."""
    return str(Path(sys.executable).with_name(name))


@cache
def built(overlay: str) -> str:
    """The overlay as one YAML stream."""
    folder = DEPLOY / "kubernetes" / "overlays" / overlay
    done = subprocess.run([tool("kubectl"), "kustomize", str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    return done.stdout


def manifests(overlay: str, *kinds: str) -> list[Manifest]:
    """The overlay's objects, of these kinds or all. Tests only read them."""
    return [item for item in _parsed(overlay) if not kinds or item["kind"] in kinds]


@cache
def _parsed(overlay: str) -> list[Manifest]:
    return [item for item in yaml.safe_load_all(built(overlay)) if item]


def pods(overlay: str) -> Iterator[tuple[str, Manifest]]:
    """Name and pod specification of every workload."""
    for item in manifests(overlay, "Deployment", "Job"):
        yield item["metadata"]["name"], item["spec"]["template"]["spec"]


def variables(overlay: str, container: Manifest) -> dict[str, str | None]:
    """The container's environment; the value is None if it comes from a secret."""
    maps = {item["metadata"]["name"]: item["data"] for item in manifests(overlay, "ConfigMap")}
    found: dict[str, str | None] = {}
    for source in container.get("envFrom", []):
        found.update(maps[source["configMapRef"]["name"]])
    for variable in container.get("env", []):
        found[variable["name"]] = variable.get("value")
    return found
