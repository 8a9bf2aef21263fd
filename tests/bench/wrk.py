"""Run wrk with one of our Lua scripts, and parse its report."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.bench import generator, tools
from tests.bench.load_result import LoadResult

LUA = Path(__file__).with_name("lua")
ANSWER_LIMIT_S = 10


def run(
    script: str,
    url: str,
    arguments: list[str],
    *,
    connections: int,
    seconds: float,
    during: Callable[[], None] | None = None,
) -> LoadResult:
    """Send requests from `connections` connections for `seconds`; `during` is called half way, beside the load.

    Raises MissingTool; RuntimeError where wrk reports nothing.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".lua", encoding="utf-8") as joined:
        joined.write((LUA / "result.lua").read_text(encoding="utf-8"))
        joined.write((LUA / f"{script}.lua").read_text(encoding="utf-8"))
        joined.flush()
        command = [
            tools.find("wrk"),
            "--threads", "1",
            "--connections", str(connections),
            "--duration", f"{seconds:.0f}s",
            "--timeout", f"{ANSWER_LIMIT_S}s",
            "--script", joined.name,
            url,
            "--",
            *arguments,
        ]  # fmt: skip
        finished = generator.run(command, seconds=seconds, during=during)
    for line in finished.output.splitlines():
        if line.startswith("RESULT "):
            return LoadResult(**json.loads(line.removeprefix("RESULT ")))
    raise RuntimeError(f"wrk reported nothing: {finished.errors or finished.output.strip()}")
