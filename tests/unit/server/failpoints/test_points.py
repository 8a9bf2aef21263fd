"""Failpoints do nothing unless they are switched on."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.mint.settings import MintSettings
from services.server import failpoints
from services.server.runtime.process import run


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "failpoints.json"
    failpoints.switch_on(path)
    yield path
    failpoints.switch_on(None)


def write_fault(file: Path, **fault: object) -> None:
    file.write_text(json.dumps({"a.point": fault}), encoding="utf-8")


async def test_a_point_does_nothing_while_no_file_is_set(file: Path) -> None:
    write_fault(file, action="raise")
    failpoints.switch_on(None)
    await failpoints.reach("a.point")


async def test_a_point_raises_what_a_full_disk_would(file: Path) -> None:
    write_fault(file, action="raise")
    with pytest.raises(OSError, match=r"failpoint a\.point"):
        await failpoints.reach("a.point")
    await failpoints.reach("another.point")


async def test_a_point_fires_as_often_as_its_share_says(file: Path) -> None:
    random.seed(7)
    seen = {}
    for share in (0.0, 0.5, 1.0):
        write_fault(file, action="raise", share=share)
        seen[share] = sum([await raises("a.point") for _ in range(200)])
    assert seen[0.0] == 0
    assert 70 <= seen[0.5] <= 130
    assert seen[1.0] == 200


async def raises(point: str) -> bool:
    try:
        await failpoints.reach(point)
    except OSError:
        return True
    return False


async def test_a_point_delays(file: Path) -> None:
    write_fault(file, action="delay", delay_s=0.05)
    began_s = time.monotonic()
    await failpoints.reach("a.point")
    assert time.monotonic() - began_s >= 0.05


@pytest.mark.parametrize("text", ["", "{", "[]", "null"])
async def test_a_malformed_file_means_no_faults(file: Path, text: str) -> None:
    await asyncio.to_thread(file.write_text, text, encoding="utf-8")
    await failpoints.reach("a.point")


def test_production_refuses_to_start_with_failpoints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = MintSettings(
        _env_file=None,
        vyris_env="production",
        database_url="postgresql://localhost/none",
        redis_url="redis://localhost",
        failpoints_file=tmp_path / "f.json",
    )
    with pytest.raises(SystemExit):
        run("mint", settings, 1, lambda _: pytest.fail("it began to serve"))
    assert "FAILPOINTS_FILE" in capsys.readouterr().err
