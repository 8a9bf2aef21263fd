"""The base of errors whose cause only the log gets."""

from __future__ import annotations

from typing import ClassVar

from vyris.errors import Retryable


class LoggedFailure(Retryable):
    """A call or a round of background work failed. `cause` is also its text, and contains no data of a request.

    The caller gets Retryable's usual message. `event`: the name of the log line for a call that failed so.
    """

    event: ClassVar[str]

    def __init__(self, cause: str) -> None:
        super().__init__()
        self.cause = cause

    def __str__(self) -> str:
        return self.cause
