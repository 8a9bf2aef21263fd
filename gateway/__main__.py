"""`python -m gateway`: write Envoy's configuration, check it with Envoy, run Envoy with it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from gateway import drain as draining
from gateway.launch import UnfitConfiguration, check_with_envoy, write_configuration
from gateway.settings import GatewaySettings

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

Output = Annotated[Path, typer.Option(help="File to write; the certificates' files go into the same folder.")]


def _settings() -> GatewaySettings:
    try:
        return GatewaySettings()
    except ValidationError as error:
        for problem in error.errors(include_input=False, include_url=False):
            name = "_".join(str(part) for part in problem["loc"]).upper()
            message = problem["msg"].removeprefix("Value error, ")
            typer.echo(f"gateway: {name + ': ' if name else ''}{message}", err=True)
        raise typer.Exit(78) from None  # sysexits.h EX_CONFIG
    except UnicodeDecodeError:
        typer.echo("gateway: the file .env is not text in UTF-8", err=True)
        raise typer.Exit(78) from None


@contextmanager
def _fit() -> Iterator[None]:
    try:
        yield
    except UnfitConfiguration as problem:
        typer.echo(f"gateway: {problem}", err=True)
        raise typer.Exit(78) from None  # sysexits.h EX_CONFIG


@app.command()
def generate(output: Output) -> None:
    """Write Envoy's configuration for the current settings."""
    with _fit():
        write_configuration(_settings(), output)


@app.command()
def validate() -> None:
    """Generate the configuration and check it with the real Envoy (`envoy --mode validate`)."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "envoy.json"
        with _fit():
            write_configuration(_settings(), path)
        try:
            check_with_envoy(path)
        except UnfitConfiguration as error:
            typer.echo(f"gateway: Envoy refuses the configuration\n{error}", err=True)
            raise typer.Exit(1) from None
    typer.echo("gateway: Envoy accepts the configuration")


@app.command()
def run(output: Output) -> None:
    """Write the configuration and run Envoy. On SIGTERM, answer open requests first."""
    with _fit():
        status = draining.run(_settings(), output)
    raise typer.Exit(status)


@app.command()
def drain() -> None:
    """Let a running Envoy answer open requests and accept no new ones (for a container's preStop hook)."""
    if not draining.drain(_settings()):
        typer.echo("gateway: some requests did not finish in time", err=True)
        raise typer.Exit(1)


if __name__ == "__main__":
    app()
