"""`python -m tests.bench`: measures the suite side by side with a baseline and its own ceiling."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from tests.bench import quick
from tests.bench.tools import MissingTool


def main(
    quick_look: Annotated[str, typer.Option("--quick", help="One workload briefly: mint.")] = "",
    connections: Annotated[int, typer.Option(min=1, max=1024)] = 64,
    seconds: Annotated[int, typer.Option(min=1, help="How long one measurement takes.")] = 5,
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    subjects: Annotated[str, typer.Option(help="Divided by commas: suite, baseline, ceiling, plain.")] = "",
) -> None:
    """Measure."""
    names = [name for name in subjects.split(",") if name]
    try:
        if quick_look:
            quick.run(names, connections=connections, seconds=seconds, count=rounds)
    except MissingTool as problem:
        sys.stderr.write(f"{problem}\n")
        raise typer.Exit(1) from None


if __name__ == "__main__":
    typer.run(main)
