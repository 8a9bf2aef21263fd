"""Mistakes in SQL: the real statements with a piece replaced."""

from __future__ import annotations

from services.data.storage.queries import Queries
from services.mint.statements import QUERIES


def replace_pieces(queries: Queries, name: str, *pieces: tuple[str, str]) -> None:
    """Replace pieces of a statement; each must be there, or the variant would be sound."""
    statement = queries[name]
    for right, wrong in pieces:
        if right not in statement:
            raise AssertionError(f"{name} does not hold {right!r}")
        statement = statement.replace(right, wrong)
    queries._statements[name] = statement


def asked_is_entered() -> None:
    """Two processes enter one receipt, and both mint."""
    replace_pieces(
        QUERIES,
        "mint_receipts",
        (
            "\n    AND receipt_key = ANY (ARRAY(SELECT receipt_key FROM entered "
            "UNION ALL SELECT receipt_key FROM turned))",
            "",
        ),
    )


def reaper_reaps_the_living() -> None:
    """Fulfilled receipts become FAILED."""
    replace_pieces(
        QUERIES,
        "reap_abandoned",
        ("state = 'PENDING' AND updated_at < now() - make_interval(secs => $3)", "$3::float8 > 0"),
        ("created_at < $2", "created_at < greatest($2::timestamptz, now())"),
    )


def locked_is_sold_out() -> None:
    """What another transaction may yet give back counts as gone."""
    replace_pieces(
        QUERIES,
        "mint_receipts",
        (
            "NOT EXISTS (SELECT FROM slots WHERE drop_id = $1 AND sort_order >= 0)",
            "NOT EXISTS (SELECT FROM (SELECT 1 FROM slots WHERE drop_id = $1 LIMIT 1 FOR UPDATE SKIP LOCKED) AS free)",
        ),
    )


def refused_receipts_forgotten() -> None:
    """Nobody will refund what is not written down."""
    replace_pieces(
        QUERIES,
        "mint_receipts",
        (
            "WHERE receipt_key <> ALL (ARRAY(SELECT receipt_key FROM known))\n  ORDER BY",
            "WHERE receipt_key <> ALL (ARRAY(SELECT receipt_key FROM known)) AND reason IS DISTINCT FROM 'SOLD_OUT'\n"
            "  ORDER BY",
        ),
        ("d.reason IS NOT NULL AND (\n", "d.reason IS NOT NULL AND (d.reason = 'SOLD_OUT' OR\n"),
    )
