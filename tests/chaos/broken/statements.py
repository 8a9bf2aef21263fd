"""Mistakes in SQL: the real statements with a piece replaced."""

from __future__ import annotations

from services.mint.statements import QUERIES


def replace_in(query: str, *pieces: tuple[str, str]) -> None:
    """Replace pieces of a statement; each must be there, or the variant would be sound."""
    statement = QUERIES[query]
    for right, wrong in pieces:
        if right not in statement:
            raise AssertionError(f"{query} does not hold {right!r}")
        statement = statement.replace(right, wrong)
    QUERIES._statements[query] = statement


def no_row_lock() -> None:
    """Two processes fulfil one receipt."""
    replace_in(
        "fulfil_receipts",
        ("  ORDER BY receipt_key\n  FOR UPDATE SKIP LOCKED\n", "  ORDER BY receipt_key\n"),
    )


def whoever_asks_has_entered() -> None:
    """Two processes enter one receipt, and both mint."""
    replace_in("mint_new_receipts", (" AND receipt_key = ANY (ARRAY(SELECT receipt_key FROM entered))", ""))


def reaper_reaps_the_living() -> None:
    """Fulfilled receipts become FAILED."""
    replace_in(
        "reap_abandoned",
        ("state = 'PENDING' AND updated_at < now() - make_interval(secs => $3)", "$3::float8 > 0"),
        ("created_at < $2", "created_at < greatest($2::timestamptz, now())"),
    )


def locked_is_sold_out() -> None:
    """What another transaction may yet give back counts as gone."""
    replace_in(
        "refuse_if_sold_out",
        (
            "NOT EXISTS (SELECT FROM slots WHERE drop_id = $1)",
            "NOT EXISTS (SELECT FROM (SELECT 1 FROM slots WHERE drop_id = $1 LIMIT 1 FOR UPDATE SKIP LOCKED) AS free)",
        ),
    )


def refused_receipts_forgotten() -> None:
    """Nobody will refund what is not written down."""
    replace_in(
        "refuse_if_sold_out",
        (
            "UPDATE receipt_ledger l SET state = 'FAILED', reason = 'SOLD_OUT', updated_at = now()\n"
            "  FROM locked WHERE l.receipt_key = locked.receipt_key AND locked.state = 'PENDING'",
            "DELETE FROM receipt_ledger l USING locked WHERE l.receipt_key = locked.receipt_key",
        ),
    )
