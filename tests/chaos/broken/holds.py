"""Mistakes around holds."""

from __future__ import annotations

from services.holds.statements import QUERIES as HOLD_QUERIES
from services.limits.statements import QUERIES as LIMIT_QUERIES
from services.mint.statements import QUERIES as MINT_QUERIES
from services.supply.statements import QUERIES as SUPPLY_QUERIES
from tests.chaos.broken.statements import replace_pieces


def lapse_without_the_lock() -> None:
    """The number comes back although a mint has used the hold meanwhile: neither side locks the row."""
    replace_pieces(HOLD_QUERIES, "lapse_holds", ("  FOR UPDATE SKIP LOCKED\n", ""))
    replace_pieces(
        MINT_QUERIES,
        "mint_held_receipts",
        ("  WHERE h.ended_at IS NULL\n    AND (own.state", "  WHERE (own.state"),
        ("  ORDER BY h.id\n  FOR UPDATE OF h SKIP LOCKED\n", ""),
    )


def hold_stays_held() -> None:
    """The membership exists, and so does the hold."""
    replace_pieces(
        MINT_QUERIES, "mint_held_receipts", ("FROM won WHERE h.id = won.membership_id", "FROM won WHERE false")
    )


def id_is_the_number() -> None:
    """The id shows the number: people would take and release until they like it."""
    number = "(left(gen_random_uuid()::text, 8) || '-0000-0000-0000-' || lpad(to_hex(sequence_num), 12, '0'))::uuid"
    replace_pieces(HOLD_QUERIES, "take_holds", ("uuidv7() AS id", f"{number} AS id"))


def served_stay_in_line() -> None:
    """A late payer also gets the next number that comes back."""
    replace_pieces(
        SUPPLY_QUERIES,
        "hold_for_late_payers",
        ("SET reason = 'HOLD_OFFERED', updated_at = now()", "SET updated_at = now()"),
        ("DELETE FROM late_payments WHERE receipt_key", "DELETE FROM late_payments WHERE false AND receipt_key"),
        ("h.user_id = l.user_id AND h.state = 'HELD'", "false"),
        ("p.digest = l.user_digest AND p.held_by IS NOT NULL", "false AND p.digest = l.user_digest"),
    )


def keys_stay_counted() -> None:
    """A person whose hold has lapsed can never take another."""
    replace_pieces(
        LIMIT_QUERIES, "release_keys", ("held_by = ANY ($1::uuid[])", "held_by = ANY ($1::uuid[]) AND false")
    )


def held_is_sold_out() -> None:
    """A buyer who comes a moment later would have got a number."""
    for name in ("take_holds", "answer_without_slots"):
        replace_pieces(HOLD_QUERIES, name, ("WHEN any_held THEN 'HELD_OUT'", "WHEN false THEN 'HELD_OUT'"))
    replace_pieces(
        MINT_QUERIES, "mint_counted_receipts", ("WHEN any_held THEN 'HELD_OUT'", "WHEN false THEN 'HELD_OUT'")
    )
