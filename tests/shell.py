"""Isolate the tests from the shell: neither its settings nor a `.env` in the checkout reach a test."""

from __future__ import annotations

import os
import re
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
