"""What a log line says of a failure."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import structlog
from services.runtime import logs
logs.configure("info", "test")
def work(token):
    raise RuntimeError("it broke")
try:
    work("a-secret-of-the-" + "caller")
except RuntimeError:
    structlog.get_logger("x").exception("failed")
"""


def test_a_logged_failure_says_where_and_not_what_the_variables_held() -> None:
    said = subprocess.run([sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True).stdout
    assert '"exc_value": "it broke"' in said
    assert '"name": "work"' in said
    assert "a-secret-of-the-caller" not in said
