"""`python -m schema migrate`: apply the migrations to DATABASE_URL."""

from __future__ import annotations

import os
import sys

from schema.migrate import MigrationFailed, migrate


def main() -> int:
    """Exit 0 when the schema is the newest, 1 with a sentence when not, 2 for wrong arguments."""
    database_url = os.environ.get("DATABASE_URL", "")
    if sys.argv[1:] != ["migrate"] or not database_url:
        sys.stderr.write("usage: DATABASE_URL=postgresql://… python -m schema migrate\n")
        return 2
    try:
        migrate(database_url)
    except MigrationFailed as failure:
        sys.stderr.write(f"{failure}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
