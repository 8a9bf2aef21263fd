"""A failpoint ends its process like a crash."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path


def test_a_point_kills_its_process(tmp_path: Path) -> None:
    file = tmp_path / "f.json"
    file.write_text(json.dumps({"a.point": {"action": "kill"}}), encoding="utf-8")
    program = (
        "import asyncio, pathlib; from services.server import failpoints; "
        f"failpoints.switch_on(pathlib.Path({str(file)!r})); asyncio.run(failpoints.reach('a.point'))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -signal.SIGKILL
