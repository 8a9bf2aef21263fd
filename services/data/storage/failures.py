"""The errors of a statement. Postgres' own errors stay inside `services/data/storage`."""

from __future__ import annotations

from services.server.failures import LoggedFailure


class DatabaseFailed(LoggedFailure):
    """A statement failed. Its `cause` never contains a value of the statement."""

    event = "database_failed"


class DatabaseUnavailable(DatabaseFailed):
    """Postgres was not reachable, refused, or did not answer in time; the outcome is unknown."""


class DatabaseUnreachable(DatabaseUnavailable):
    """There was no connection to Postgres, so no statement was sent."""


class DataRejected(DatabaseFailed):
    """Postgres refused the data itself (SQLSTATE class 22 or 23); nothing was written."""
