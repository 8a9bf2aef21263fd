"""The `vyris` command. Each group is imported when it runs, or when `--help` lists it."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

from cli import stack
from stack.printable import printable

GROUPS = {
    "drop": "cli.drop",
    "bouncer": "cli.bouncer",
    "membership": "cli.membership",
    "receipts": "cli.receipts",
    "hold": "cli.hold",
    "limit": "cli.limit",
    "draw": "cli.draw",
    "user": "cli.user",
    "dev": "cli.dev",
    "pass": "cli.passes",
}
COMMANDS = {
    "migrate": "cli.migrate",
}


class LazyGroup(TyperGroup):
    """Imports a subcommand when it is needed."""

    def list_commands(self, ctx: Any) -> list[str]:
        """All names, those of the stack first."""
        return [*super().list_commands(ctx), *GROUPS, *COMMANDS]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The subcommand of that name, or None."""
        if cmd_name in GROUPS:
            group = typer.main.get_group(import_module(GROUPS[cmd_name]).app)
            group.name = cmd_name
            return group
        if cmd_name in COMMANDS:
            single = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
            single.command(cmd_name)(getattr(import_module(COMMANDS[cmd_name]), cmd_name))
            return typer.main.get_command(single)
        return super().get_command(ctx, cmd_name)

    def invoke(self, ctx: Any) -> Any:
        """Run the command. Failures that a person can fix become sentences instead of a traceback."""
        try:
            return super().invoke(ctx)
        except Exception as failure:
            # Imported only now, because most commands do not fail, and pydantic is slow to import.
            from cli import refusals  # noqa: PLC0415

            sentences = refusals.sentences(failure)
            if not sentences:
                raise
            for sentence in sentences:
                typer.echo(printable(sentence, keeps_lines=True), err=True)
            raise typer.Exit(refusals.exit_status(failure)) from None


app = typer.Typer(
    name="vyris",
    cls=LazyGroup,
    help="VYRIS: drops of numbered memberships.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(stack.app)

if __name__ == "__main__":
    app()
