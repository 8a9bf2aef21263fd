"""A process refuses to start in production without authentication."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.forked import run_to_end
from tests.unit.server.production.test_every_service import NAMING_USERS, SOUND


@pytest.mark.parametrize("name", sorted(NAMING_USERS))
def test_a_process_refuses_production_before_it_does_anything(name: str, tmp_path: Path) -> None:
    sound = {key.upper(): value for key, value in SOUND.items()}
    ended = run_to_end(
        name, {**sound, "VYRIS_STATE_DIR": str(tmp_path / "state"), "USER_JWT_AUDIENCE": ""}, folder=tmp_path
    )
    assert ended.status == 78
    assert f"{name} cannot start: VYRIS_ENV=production needs USER_JWT_AUDIENCE" in ended.output
    assert "Traceback" not in ended.output
    assert not (tmp_path / "state").exists()
