"""A command makes no key for a database that is not the local stack's."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from stack.state import database_place
from tests.integration.cli.operator_login import vyris

SOMEBODY = str(uuid.uuid4())


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


async def test_no_command_makes_a_key_for_a_database_that_is_named(database_url: str, tmp_path: Path) -> None:
    environment = {"DATABASE_URL": database_url, "VYRIS_STATE_DIR": str(tmp_path / "state")}
    set_email, build = vyris(
        [("membership", "set-email", SOMEBODY, "a@b.example", "--reason", "x"), ("pass", "build", SOMEBODY)],
        environment,
    )
    assert set_email.status == 1
    assert "set REFORGE_ADDRESS" in set_email.output
    assert build.status == 1
    assert "PASS_AUTH_KEY" in build.output
    assert files(tmp_path) == []


async def test_a_local_stack_that_works_on_another_database_is_not_asked(database_url: str, tmp_path: Path) -> None:
    (tmp_path / "ports.json").write_text('{"reforge": 1, "database": "elsewhere/vyris"}')
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "pass_auth_key").write_text("k" * 64)
    before = files(tmp_path)
    environment = {"DATABASE_URL": database_url, "VYRIS_STATE_DIR": str(tmp_path)}
    set_email, build = vyris(
        [("membership", "set-email", SOMEBODY, "a@b.example", "--reason", "x"), ("pass", "build", SOMEBODY)],
        environment,
    )
    assert "another database than the local stack's" in set_email.output
    assert "another database than the local stack's" in build.output
    assert (set_email.status, build.status) == (1, 1)
    assert files(tmp_path) == before


async def test_a_reforge_service_that_does_not_answer_is_reported_in_a_sentence(
    database_url: str, tmp_path: Path
) -> None:
    environment = {
        "DATABASE_URL": database_url,
        "VYRIS_STATE_DIR": str(tmp_path / "state"),
        "REFORGE_ADDRESS": "127.0.0.1:1",
    }
    [done] = vyris([("membership", "set-email", SOMEBODY, "a@b.example", "--reason", "x")], environment)
    assert done.status == 1
    assert "reforge at 127.0.0.1:1 gave no answer" in done.output
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("postgresql://ada:secret@db.example:5432/vyris?sslmode=require", "db.example:5432/vyris"),
        ("postgresql://vyris@/vyris?host=/run/x", "/run/x/vyris"),
        ("postgresql:///vyris?host=/run/x&role=vyris_operator", "/run/x/vyris"),
    ],
)
def test_a_database_is_the_same_under_any_login(url: str, place: str) -> None:
    assert database_place(url) == place
