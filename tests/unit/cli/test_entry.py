"""The command's first lines."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from cli import entry


def test_ctrl_c_while_the_commands_are_imported_ends_quietly(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted(ModuleType):
        def __getattr__(self, name: str) -> object:
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "cli.main", Interrupted("cli.main"))
    with pytest.raises(SystemExit) as ended:
        entry.main()
    assert ended.value.code == entry.INTERRUPTED
