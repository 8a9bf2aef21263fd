"""`vyris dev`: tools to try the local stack with curl."""

from __future__ import annotations

import email
import email.policy
import re
from email.message import EmailMessage
from pathlib import Path
from typing import Annotated

import typer

from cli import dev_encounter, dev_keys, dev_proof
from cli.backends import BackendSettings
from cli.console import fail
from stack.printable import printable
from stack.state import StateFolder

app = typer.Typer(no_args_is_help=True, help="Try the local stack: mails, device keys, device proofs, encounters.")
app.command("device-key")(dev_keys.device_key)
app.command("proof")(dev_proof.proof)
app.command("encounter-token")(dev_encounter.encounter_token)

_TOKEN = re.compile(r"\?token=([A-Za-z0-9_-]{43})(?=\s|$)")


@app.command()
def mail(
    to: Annotated[str, typer.Option(help="Only mails to this address.")] = "",
    token: Annotated[bool, typer.Option("--token", help="Print only the token of its first link.")] = False,
    everything: Annotated[bool, typer.Option("--list", help="List all mails, newest first, instead.")] = False,
) -> None:
    """Show the newest mail that the local stack sent."""
    folder = StateFolder(BackendSettings().vyris_state_dir).mail
    paths = sorted(folder.glob("*.eml"), reverse=True)
    mails = [(path, _read(path)) for path in paths]
    if to:
        mails = [(path, message) for path, message in mails if to.lower() in str(message["To"]).lower()]
    if not mails:
        fail(f"There is no mail in {folder}" + (f" to {to}." if to else "."))
    if everything:
        for path, message in mails:
            typer.echo(printable(f"{path.name}  {message['To']}  {message['Subject']}"))
        return
    path, newest = mails[0]
    text = _text(newest)
    if token:
        found = _TOKEN.search(text)
        if found is None:
            fail(f"The newest mail ({path.name}) holds no link with a token.")
        typer.echo(found[1])
        return
    for name in ("From", "To", "Date", "Subject", "Message-ID"):
        typer.echo(printable(f"{name}: {newest[name]}"))
    typer.echo(f"File: {path}\n\n{printable(text, keeps_lines=True)}")


def _read(path: Path) -> EmailMessage:
    return email.message_from_bytes(path.read_bytes(), policy=email.policy.default)


def _text(message: EmailMessage) -> str:
    body = message.get_body(("plain", "html"))
    # In a mail, lines end with CR LF.
    return str(body.get_content()).replace("\r\n", "\n") if body is not None else ""
