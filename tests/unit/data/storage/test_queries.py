"""Statements in a file, and the parts that they share."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.data.storage.queries import Queries, statement_name


def test_a_part_is_put_into_each_statement_that_names_it(tmp_path: Path) -> None:
    file = tmp_path / "queries.sql"
    file.write_text("-- part: one\nSELECT 1;\n\n-- name: twice\n{one} UNION ALL {one};\n-- name: array\nSELECT '{}';\n")
    queries = Queries(file)
    assert queries["twice"] == "SELECT 1 UNION ALL SELECT 1"
    assert queries["array"] == "SELECT '{}'"
    assert statement_name(queries["twice"]) == "twice"
    with pytest.raises(KeyError):
        queries["one"]


@pytest.mark.parametrize("text", ["-- name: a\n{b};\n", "-- name: a\nSELECT 1;\n-- part: a\nSELECT 2;\n"])
def test_an_unknown_part_and_a_duplicate_name_are_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "queries.sql"
    file.write_text(text)
    with pytest.raises((KeyError, ValueError)):
        Queries(file)
