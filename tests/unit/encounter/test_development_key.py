"""The local stack's key: made once, kept private, the same for all who start at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from services.encounter.development_key import PRIVATE_NAME, PUBLIC_NAME, development_key, public_pem
from services.server.runtime.settings import WrongSetting


def test_the_key_is_made_once_and_the_private_file_is_the_owners_alone(tmp_path: Path) -> None:
    state = tmp_path / "state"
    made = public_pem(development_key(state))
    assert public_pem(development_key(state)) == made
    assert (state / "keys" / PUBLIC_NAME).read_text() == made
    assert (state / "keys" / PRIVATE_NAME).stat().st_mode & 0o777 == 0o600
    assert (state / "keys").stat().st_mode & 0o777 == 0o700


def test_many_who_start_at_once_get_one_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as threads:
        made = set(threads.map(lambda _: public_pem(development_key(tmp_path / "state")), range(64)))
    assert len(made) == 1
    assert {path.name for path in (tmp_path / "state" / "keys").iterdir()} == {
        PRIVATE_NAME, PUBLIC_NAME, f".{PRIVATE_NAME}.lock", f".{PUBLIC_NAME}.lock",
    }  # fmt: skip


def test_the_public_file_follows_the_private_one(tmp_path: Path) -> None:
    made = public_pem(development_key(tmp_path))
    (tmp_path / "keys" / PUBLIC_NAME).write_text("something else")
    development_key(tmp_path)
    assert (tmp_path / "keys" / PUBLIC_NAME).read_text() == made


def test_a_file_that_holds_no_key_is_named_and_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / PRIVATE_NAME).write_text("not a key")
    with pytest.raises(WrongSetting, match=PRIVATE_NAME):
        development_key(tmp_path)
    assert (tmp_path / "keys" / PRIVATE_NAME).read_text() == "not a key"
