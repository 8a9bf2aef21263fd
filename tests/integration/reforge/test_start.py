"""A process that refuses to start names the wrong setting."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.forked import run_to_end

PRODUCTION = {
    "VYRIS_ENV": "production",
    "DATABASE_URL": "postgresql://vyris@127.0.0.1:1/vyris",
    "REFORGE_TOKEN_KEY": "k" * 32,
    "REFORGE_BASE_URL": "https://club.example",
    "PUBLIC_BASE_URL": "https://api.club.example",
    "REFORGE_FROM_EMAIL": "Club <no-reply@club.example>",
    "SMTP_URL": "smtps://mail.club.example",
    "USER_JWT_ISSUER": "https://id.club.example",
    "USER_JWT_JWKS": "https://id.club.example/jwks.json",
    "USER_JWT_AUDIENCE": "club",
}


@pytest.mark.parametrize(
    ("changes", "blamed"),
    [
        ({"REFORGE_TOKEN_KEY": ""}, "REFORGE_TOKEN_KEY is not set"),
        ({"REFORGE_TOKEN_KEY": "short-secret"}, "REFORGE_TOKEN_KEY"),
        ({"USER_JWT_ISSUER": "", "USER_JWT_JWKS": ""}, "USER_JWT_ISSUER"),
        ({"SMTP_URL": "smtp://127.0.0.1:25"}, "SMTP_URL"),
        ({"REFORGE_BASE_URL": "http://club.example"}, "REFORGE_BASE_URL"),
        ({"PUBLIC_BASE_URL": "http://club.example"}, "PUBLIC_BASE_URL"),
    ],
)
def test_production_refuses_to_start_with_a_development_convenience(
    tmp_path: Path, changes: dict[str, str], blamed: str
) -> None:
    done = run_to_end("reforge", {"VYRIS_STATE_DIR": str(tmp_path), **PRODUCTION, **changes}, folder=tmp_path)
    assert done.status == 78
    assert blamed in done.output
    assert "short-secret" not in done.output
    assert "Traceback" not in done.output
