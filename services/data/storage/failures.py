"""The errors of a statement. Postgres' own errors stay inside `services/data/storage`."""

from __future__ import annotations

from vyris.errors import Retryable


class DatabaseFailed(Retryable):
    """A statement failed. `cause` is also its text; it is for the log and never contains a value of the statement.

    The caller gets Retryable's usual message.
    """

    def __init__(self, cause: str) -> None:
        super().__init__()
        self.cause = cause

    def __str__(self) -> str:
        return self.cause


class DatabaseUnavailable(DatabaseFailed):
    """Postgres was not reachable, refused, or did not answer in time; the outcome is unknown."""


class DatabaseUnreachable(DatabaseUnavailable):
    """There was no connection to Postgres, so no statement was sent."""


class DataRejected(DatabaseFailed):
    """Postgres refused the data itself (SQLSTATE class 22 or 23); nothing was written."""
