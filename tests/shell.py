"""Isolate the tests from the shell: neither its settings nor a `.env` in the checkout reach a test.

One setting can be chosen for all tests, by an option of pytest: `--grpc-server aio`.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent


def setting_names() -> set[str]:
    """Names of every setting, from the generated `.env.example`: importing the settings takes a second."""
    text = (REPOSITORY / ".env.example").read_text(encoding="utf-8")
    return set(re.findall(r"^#([A-Z][A-Z0-9_]*)=", text, re.MULTILINE))


def clear_settings() -> None:
    """Remove the suite's variables, and OpenTelemetry's own, from the environment of this process."""
    names = setting_names()
    for name in [name for name in os.environ if name in names or name.startswith("OTEL_")]:
        del os.environ[name]


def keep_bytecode() -> None:
    """Write bytecode in spite of `PYTHONDONTWRITEBYTECODE`, which images of containers set.

    A run starts hundreds of interpreters, each of which would compile all modules; pytest would rewrite every test.
    """
    if os.environ.pop("PYTHONDONTWRITEBYTECODE", ""):
        sys.dont_write_bytecode = False


def choose_grpc_server(kind: str) -> None:
    """Let the services of all tests serve with this gRPC server (`GRPC_SERVER`)."""
    os.environ["GRPC_SERVER"] = kind


def chosen_settings() -> dict[str, str]:
    """Settings that were chosen for all tests, for services that do not inherit the environment of this process."""
    return {name: os.environ[name] for name in ("GRPC_SERVER",) if name in os.environ}
