"""Who types the command, as the audit log names the person."""

from __future__ import annotations

import getpass
import os
from typing import Annotated, Final

import typer

from services.audit_log import REASON_LIMIT, Actor

NAME_LIMIT: Final = 64
BY_COMMAND: Final = "by command"

OptionalReason = Annotated[str, typer.Option("--reason", help="Why; kept in the audit log.")]


def operator_name() -> str:
    """The account's name; `uid 10001` where the machine has no name for it, as in a container.

    The environment can give another one (LOGNAME). So the audit log holds the session's login as well.
    """
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = ""
    shown = "".join(character for character in name if character.isprintable())[:NAME_LIMIT].strip()
    return shown or f"uid {os.getuid()}"


def operator(reason: str) -> Actor:
    """Who changes something by this command, and why."""
    return Actor(operator_name(), " ".join(reason.split())[:REASON_LIMIT] or BY_COMMAND)
