"""`python -m gateway`: writes Envoy's configuration, and has Envoy judge it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from gateway.launch import UnfitConfigurationError, check_with_envoy, write_configuration
from gateway.settings import GatewaySettings

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


def _settings() -> GatewaySettings:
    try:
        return GatewaySettings()
    except ValidationError as error:
        for problem in error.errors():
            name = "_".join(str(part) for part in problem["loc"]).upper()
            typer.echo(f"gateway: {name + ': ' if name else ''}{problem['msg']}", err=True)
        raise typer.Exit(2) from None


@app.command()
def generate(output: Annotated[Path, typer.Option(help="File to write; certificates' names go beside it.")]) -> None:
    """Write Envoy's configuration for the current settings."""
    write_configuration(_settings(), output)


@app.command()
def validate() -> None:
    """Generate the configuration and let the real Envoy judge it (`envoy --mode validate`)."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "envoy.json"
        write_configuration(_settings(), path)
        try:
            check_with_envoy(path)
        except UnfitConfigurationError as error:
            typer.echo(f"gateway: Envoy refuses the configuration\n{error}", err=True)
            raise typer.Exit(1) from None
    typer.echo("gateway: Envoy accepts the configuration")


if __name__ == "__main__":
    app()
