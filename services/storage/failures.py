"""What a statement may fail with. What Postgres itself says stays inside `services/storage`."""

from __future__ import annotations

from vyris.errors import Retryable


class DatabaseFailed(Retryable):
    """A statement failed. `cause`, which is also its text, is for the log: never a value that was in the statement.

    The caller hears what every Retryable says.
    """

    def __init__(self, cause: str) -> None:
        super().__init__()
        self.cause = cause

    def __str__(self) -> str:
        return self.cause


class DatabaseUnavailable(DatabaseFailed):
    """Postgres could not be reached, refused, or did not answer in time; what it did is not known."""


class DatabaseUnreachable(DatabaseUnavailable):
    """There is no connection to Postgres: nothing was asked of it."""


class DataRejected(DatabaseFailed):
    """Postgres refused the data itself (SQLSTATE class 22 or 23); nothing was written."""
