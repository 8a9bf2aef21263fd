"""`vyris migrate`: migrate the schema."""

from __future__ import annotations

from cli import backends
from cli.actor import operator_name
from cli.console import err, fail
from schema.migrate import MigrationFailed
from schema.migrate import migrate as apply_migrations


def migrate() -> None:
    """Migrate the database's schema to the newest version."""
    try:
        apply_migrations(backends.database_url(), operator_name())
    except MigrationFailed as failure:
        fail(f"{failure}; is the stack running (`make up`), or DATABASE_URL right?")
    err.print("The schema is the newest.")
