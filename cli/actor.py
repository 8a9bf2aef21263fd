"""The name of the person at the terminal, for the audit log."""

from __future__ import annotations

import getpass
import os
from typing import Annotated, Final

import typer

from services.data.audit_log import REASON_LIMIT, Actor
from vyris.bounds import limit_of
from vyris.reforge.v1 import operator_pb2

NAME_LIMIT: Final = limit_of(operator_pb2.ChangeOwnerEmailRequest, "actor")
BY_COMMAND: Final = "by command"

OptionalReason = Annotated[str, typer.Option("--reason", help="The reason; written to the audit log.")]


def operator_name() -> str:
    """The account's name; `uid 10001` if the machine has no name for it, as in a container.

    The environment can set another name (LOGNAME). So the audit log also contains the session's login.
    """
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = ""
    shown = "".join(character for character in name if character.isprintable())[:NAME_LIMIT].strip()
    return shown or f"uid {os.getuid()}"


def operator(reason: str) -> Actor:
    """The actor of a change by this command, with the reason."""
    return Actor(operator_name(), " ".join(reason.split())[:REASON_LIMIT] or BY_COMMAND)
