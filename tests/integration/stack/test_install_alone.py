"""Two runs of `make` in one clone install one after the other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from stack import install_alone

SLOW = "import time, pathlib; f = pathlib.Path('log').open('a'); f.write('<'); f.flush(); time.sleep(0.3); f.write('>')"


def test_the_second_waits_for_the_first_and_says_so(tmp_path: Path) -> None:
    command = [sys.executable, install_alone.__file__, sys.executable, "-c", SLOW]
    both = [subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate(timeout=30)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert (tmp_path / "log").read_text() == "<><>"
    assert sorted(outputs) == ["", "Another make is installing here; waiting for it …\n"]


def test_the_exit_status_of_the_command_is_passed_on(tmp_path: Path) -> None:
    command = [sys.executable, install_alone.__file__, sys.executable, "-c", "raise SystemExit(3)"]
    assert subprocess.run(command, cwd=tmp_path, check=False).returncode == 3
