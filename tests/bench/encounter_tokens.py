"""Encounter tokens for a load: signed with the stack's own key, about members that were minted before."""

from __future__ import annotations

import json
import random
import secrets
import time
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from stack.local import Stack
from tests.bench import sql
from tests.bench.subject import Subject

MEMBERS = 1_000


def members(subject: Subject) -> list[str]:
    """Ids of some memberships of the subject's own."""
    rows = sql.fetch(
        subject.database_url, "SELECT id::text FROM memberships WHERE revoked_at IS NULL LIMIT $1", MEMBERS
    )
    return [row["id"] for row in rows]


def write_bodies(stack: Stack, known: list[str], file: Path, count: int) -> None:
    """Write `count` bodies for POST /encounters/verify, one a line, each with a token of its own, signed just now."""
    key = load_pem_private_key((stack.state.keys / "encounter_private.pem").read_bytes(), password=None)
    issued_at = int(time.time())
    with file.open("w", encoding="ascii") as lines:
        for _ in range(count):
            initiator, receiver = random.sample(known, 2)
            claims = {"jti": secrets.token_hex(12), "sub": initiator, "aud": receiver, "iat": issued_at}
            token = jwt.encode(claims, key, algorithm="ES256")  # type: ignore[arg-type]  # any private key, says the loader
            lines.write(json.dumps({"token": token}) + "\n")
