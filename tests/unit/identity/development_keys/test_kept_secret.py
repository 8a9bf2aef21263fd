"""Secrets that a development stack makes for itself: once, atomically, readable only by the owner."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from services.identity.development_keys import read_or_make_secret
from services.server.runtime.settings import WrongSetting
from services.server.runtime.whole_file import write_whole


def test_a_secret_is_made_once_by_the_first_process(tmp_path: Path) -> None:
    keys = tmp_path / "state" / "keys"
    with ThreadPoolExecutor(8) as pool:
        secrets = set(pool.map(lambda _: read_or_make_secret(keys, "some_key"), range(32)))
    assert len(secrets) == 1
    assert len(secrets.pop()) == 64
    assert stat.S_IMODE((keys / "some_key").stat().st_mode) == 0o600
    assert [stat.S_IMODE(folder.stat().st_mode) for folder in (keys, keys.parent)] == [0o700, 0o700]
    assert {path.name for path in keys.iterdir()} == {"some_key", ".some_key.lock"}


def test_a_secret_that_is_there_stays(tmp_path: Path) -> None:
    (tmp_path / "some_key").write_text("chosen by the owner of this machine\n")
    assert read_or_make_secret(tmp_path, "some_key") == "chosen by the owner of this machine"


@pytest.mark.parametrize("content", ["", "\n", "too short"])
def test_a_file_without_a_secret_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "some_key").write_text(content)
    with pytest.raises(WrongSetting, match=f"^{tmp_path}/some_key holds no secret of 32 characters or more: remove it"):
        read_or_make_secret(tmp_path, "some_key")


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    write_whole(tmp_path / "key.pem", b"the first, longer content")
    write_whole(tmp_path / "key.pem", b"the second", mode=0o644)
    assert (tmp_path / "key.pem").read_bytes() == b"the second"
    assert [path.name for path in tmp_path.iterdir()] == ["key.pem"]
