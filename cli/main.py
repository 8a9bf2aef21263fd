"""The `vyris` command."""

from __future__ import annotations

import typer

from cli import stack

app = typer.Typer(
    name="vyris",
    help="VYRIS: drops of numbered memberships.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(stack.app)

if __name__ == "__main__":
    app()
