"""A process refuses to start in production without authentication."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.server.production.test_every_service import NAMING_USERS, SOUND


@pytest.mark.parametrize("name", sorted(NAMING_USERS))
def test_a_process_refuses_production_before_it_does_anything(name: str, tmp_path: Path) -> None:
    sound = {key.upper(): value for key, value in SOUND.items()}
    ended = subprocess.run(
        [sys.executable, "-m", f"services.{name}"],
        env={"PATH": os.environ["PATH"], "VYRIS_STATE_DIR": str(tmp_path / "state"), **sound, "USER_JWT_AUDIENCE": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode == 78
    assert f"{name} cannot start: VYRIS_ENV=production needs USER_JWT_AUDIENCE" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "state").exists()
