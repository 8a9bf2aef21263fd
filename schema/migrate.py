"""Apply the migrations with dbmate."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

MIGRATIONS = Path(__file__).resolve().parent / "migrations"
WAIT_LIMIT_S = 30
SESSION_NAME = "vyris-migrate"


class MigrationFailed(Exception):
    """The message has the last line of dbmate's output."""


def migrate(database_url: str, actor: str = "") -> None:
    """Bring the database at `database_url` (libpq URI) to the newest schema; idempotent.

    `actor`: the person's name for the audit log; empty: only the login is logged. Raises MigrationFailed.
    """
    finished = subprocess.run(
        [
            str(Path(sys.executable).with_name("dbmate")),
            "--no-dump-schema",
            "--migration-lock",
            "--migrations-dir",
            str(MIGRATIONS),
            "--wait",
            "--wait-timeout",
            f"{WAIT_LIMIT_S}s",
            "up",
        ],
        env={"DATABASE_URL": dbmate_url(database_url, actor)},
        cwd=MIGRATIONS,  # there dbmate finds no .env to read
        capture_output=True,
        text=True,
        check=False,
    )
    if finished.returncode != 0:
        said = (finished.stderr or finished.stdout).strip().splitlines()
        raise MigrationFailed(f"the schema could not be migrated: {said[-1] if said else 'dbmate said nothing'}")


def dbmate_url(database_url: str, actor: str = "") -> str:
    """Convert a libpq URI into the form of dbmate's driver: `socket=` for a socket's folder, explicit TLS.

    The trigger of migration 0011 writes the session's name into the audit log.
    """
    parts = urlsplit(database_url)
    query = dict(parse_qsl(parts.query))
    folder = query.pop("host", None)
    if folder and folder.startswith("/"):
        query["socket"] = folder
    elif folder:
        raise MigrationFailed("DATABASE_URL names its host in the query; write it before the path instead")
    if actor:
        query["application_name"] = f"{SESSION_NAME}/{actor}"
    query.setdefault(
        "sslmode", "disable" if folder or parts.hostname in {"localhost", "127.0.0.1", "::1"} else "prefer"
    )
    return urlunsplit(("postgres", parts.netloc, parts.path, urlencode(query), ""))
