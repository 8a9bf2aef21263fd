"""The state folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stack.refusal import StackRefused
from stack.state import SOCKET_PATH_LIMIT, StateFolder


def test_the_folder_and_what_is_written_belong_to_the_owner_alone(tmp_path: Path) -> None:
    before = tmp_path.stat().st_mode
    state = StateFolder(tmp_path / "state")
    state.create()
    state.write_ports({"mint": 50051})
    for folder in (state.root, state.run, state.logs, state.mail, state.keys):
        assert folder.stat().st_mode & 0o777 == 0o700
    assert state.ports_file.stat().st_mode & 0o777 == 0o600
    assert state.read_ports() == {"mint": 50051}
    assert tmp_path.stat().st_mode == before


def test_sockets_move_to_a_short_private_folder_when_the_path_is_too_long(tmp_path: Path) -> None:
    state = StateFolder(tmp_path / ("long" * 30) / "state")
    state.create()
    state.create_sockets_folder()
    try:
        assert state.sockets != state.run
        assert len(os.fsencode(state.sockets / "supervisor.sock.4194304")) <= SOCKET_PATH_LIMIT
        assert state.sockets.stat().st_mode & 0o777 == 0o700
    finally:
        state.remove_sockets_folder()
    assert not state.sockets.exists()


def test_a_sockets_folder_that_others_can_enter_is_refused(tmp_path: Path) -> None:
    state = StateFolder(tmp_path / ("long" * 30) / "state")
    state.sockets.mkdir(mode=0o755)
    try:
        with pytest.raises(StackRefused, match="not a private folder of yours"):
            state.create_sockets_folder()
    finally:
        state.remove_sockets_folder()


def test_two_stacks_do_not_start_in_one_folder_at_once(tmp_path: Path) -> None:
    state = StateFolder(tmp_path)
    state.create()
    with state.starting(), pytest.raises(StackRefused, match="just starting"), StateFolder(tmp_path).starting():
        pass


@pytest.mark.parametrize("content", ["", "{", "[]", '"x"'])
def test_damaged_ports_are_a_sentence_that_says_what_to_do(tmp_path: Path, content: str) -> None:
    state = StateFolder(tmp_path)
    state.ports_file.write_text(content, encoding="utf-8")
    with pytest.raises(StackRefused, match=r"ports\.json is damaged: `make down` and `make up` write it again\.$"):
        state.read_ports()
