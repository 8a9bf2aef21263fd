"""Bodies for POST /issue-pass: memberships that were minted before, with their owners."""

from __future__ import annotations

import json
from pathlib import Path

from tests.bench import sql
from tests.bench.subject import Subject

MEMBERS = 1_000


def write_bodies(subject: Subject, file: Path) -> None:
    """One body a line."""
    rows = sql.fetch(
        subject.database_url,
        "SELECT id::text, user_id FROM memberships WHERE revoked_at IS NULL ORDER BY random() LIMIT $1",
        MEMBERS,
    )
    bodies = [json.dumps({"membership_id": row["id"], "user_id": row["user_id"]}) for row in rows]
    file.write_text("\n".join(bodies) + "\n", encoding="ascii")
