"""A URL that is none of Postgres is refused before anything connects, without a piece of its password."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from services.data.storage.settings import PostgresSettings


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://vyris:secret@db.example:5432/vyris?sslmode=verify-full",
        "postgres://vyris@/vyris?host=/run/postgresql",
        "postgresql://vyris:p%23ss@one:5432,two:5432/vyris?target_session_attrs=primary",
        "postgresql://vyris@[2001:db8::1]:5432/vyris",
        "postgresql:///vyris",
    ],
)
def test_libpq_uris_are_taken(url: str) -> None:
    assert PostgresSettings(database_url=url).database_url == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "vyris",
        "mysql://vyris:Tr0ub4dor@db/vyris",
        "postgresql://vyris:Tr0ub4dor#3@db:5432/vyris",
        "postgresql://vyris:Tr0ub4dor@db:port/vyris",
        "postgresql://vyris:Tr0ub4dor@db/vyris?sslmode=bogus",
        "postgresql://vyris:Tr0ub4dor@db/vyris?target_session_attrs=bogus",
    ],
)
def test_anything_else_is_refused_in_words_without_the_password(url: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        PostgresSettings(database_url=url)
    assert "Tr0ub4dor" not in str(refusal.value.errors(include_input=False, include_url=False))
