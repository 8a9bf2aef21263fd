"""Unit tests start no process, so that `make check` stays short. Tests that need one are integration tests."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# Other engines that check a pass, in milliseconds.
SMALL_TOOLS = frozenset({"openssl", "sha1sum", "unzip"})


class _SmallTool(subprocess.Popen):  # type: ignore[type-arg]
    def __init__(self, command: Any, *arguments: Any, **options: Any) -> None:
        if Path(command[0]).name not in SMALL_TOOLS:
            pytest.fail(f"a unit test starts {command}: move it to tests/integration")
        super().__init__(command, *arguments, **options)


@pytest.fixture(autouse=True)
def _no_processes() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess, "Popen", _SmallTool)
        yield
