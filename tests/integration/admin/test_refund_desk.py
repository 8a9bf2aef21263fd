"""`vyris receipts` on real Postgres, as the operator runs it."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from admin.drops import NewDrop, create_drop
from admin.refunds import RefundDesk
from cli.main import app
from services.data.audit_log import Actor
from services.mint.refunds.notice import Notice
from tests.integration.mint.receipts.notices import START, apply, mint_of, notice
from tests.stand_ins.mint_engine import Mint, MintMaker, order
from vyris.errors import InvalidReceipt, SoldOut


async def vyris(database_url: str, folder: Path, *arguments: str) -> tuple[int, str, str]:
    """Exit status, stdout and stderr."""
    environment = {"DATABASE_URL": database_url, "VYRIS_STATE_DIR": str(folder / "state"), "COLUMNS": "250"}
    result = await asyncio.to_thread(CliRunner().invoke, app, ["receipts", *arguments], env=environment)
    return result.exit_code, result.stdout, result.stderr


async def sold_out(mint: Mint, *purchases: str, user: str = "buyer") -> None:
    for purchase in purchases:
        with pytest.raises(SoldOut):
            await mint_of(mint, purchase, user)


async def test_a_paid_receipt_without_a_membership_is_exported_and_never_mints(
    make_mint: MintMaker, database_url: str, tmp_path: Path
) -> None:
    mint = await make_mint(capacity=1)
    await mint_of(mint, "p")
    await sold_out(mint, "q")
    await sold_out(mint, "r", user="=HYPERLINK(1)")
    status, out, _ = await vyris(database_url, tmp_path, "--failed")
    assert status == 0
    assert out.count("SOLD_OUT") == 2
    status, out, _ = await vyris(database_url, tmp_path, "refunds-due", "--json")
    assert {row["transaction_id"]: row["state"] for row in json.loads(out)} == {"q": "FAILED", "r": "FAILED"}
    assert await mint.ledger() == {"FULFILLED": 1, "FAILED SOLD_OUT": 2}

    status, out, err = await vyris(database_url, tmp_path, "refunds-due", "--csv", "--export")
    assert status == 0, err
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [(row["transaction_id"], row["state"], row["reason"]) for row in rows] == [
        ("q", "REFUND_DUE", "SOLD_OUT"),
        ("r", "REFUND_DUE", "SOLD_OUT"),
    ]
    assert rows[1]["user_id"] == "'=HYPERLINK(1)"
    assert await mint.ledger() == {"FULFILLED": 1, "REFUND_DUE SOLD_OUT": 2}
    with pytest.raises(InvalidReceipt):
        await mint_of(mint, "q")
    export = tmp_path / "due.csv"
    export.write_text(out)

    # A second export has nothing new; the list still shows the receipts.
    _, out, _ = await vyris(database_url, tmp_path, "refunds-due", "--csv", "--export")
    assert list(csv.DictReader(io.StringIO(out))) == []
    _, out, _ = await vyris(database_url, tmp_path, "refunds-due")
    assert out.count("REFUND_DUE") == 2

    status, _, err = await vyris(database_url, tmp_path, "refunded", "--from-csv", str(export))
    assert (status, "Marked 2 receipts" in err) == (0, True)
    assert await mint.ledger() == {"FULFILLED": 1, "REFUNDED SOLD_OUT": 2}
    status, _, err = await vyris(database_url, tmp_path, "refunded", rows[0]["receipt_key"])
    assert (status, "unchanged" in err) == (1, True)
    with pytest.raises(InvalidReceipt):
        await mint_of(mint, "q")
    audited = await mint.database.fetch("SELECT action FROM audit_log ORDER BY id")
    assert [row["action"] for row in audited] == ["receipts.export", "receipts.refunded"]


async def test_test_purchases_cost_nothing_and_are_not_refunded(
    make_mint: MintMaker, database_url: str, tmp_path: Path
) -> None:
    mint = await make_mint(capacity=0)
    created = await mint.database.in_transaction(
        lambda connection: create_drop(connection, NewDrop(mint.drop.tier, "2025", 0, "sandbox"))
    )
    await mint.database.execute(
        "INSERT INTO receipt_ledger (receipt_key, state, drop_id, user_id, kind, reason) "
        "VALUES ($1, 'FAILED', $2, 'tester', 'app-store', 'SOLD_OUT')",
        order("s").receipt.key,
        created,
    )
    status, out, _ = await vyris(database_url, tmp_path, "refunds-due", "--csv", "--export")
    assert (status, len(out.splitlines())) == (0, 1)
    assert await mint.ledger() == {"FAILED SOLD_OUT": 1}


async def test_a_receipt_is_either_minted_or_exported_never_both(make_mint: MintMaker) -> None:
    mint = await make_mint(capacity=0, mint_batch_limit=8)
    purchases = [f"p{number}" for number in range(40)]
    await sold_out(mint, *purchases)
    await mint.resize(40)
    await asyncio.sleep(1)  # SOLD_OUT may be answered for a second.
    desk = RefundDesk(mint.database, Actor("operator", "by command"))
    answers = await asyncio.gather(
        *(mint_of(mint, purchase) for purchase in purchases),
        *(desk.export(5) for _ in range(4)),
        return_exceptions=True,
    )
    minted = {answer[0].id for answer in answers if isinstance(answer, tuple)}
    exported = [row["transaction_id"] for answer in answers if isinstance(answer, list) for row in answer]
    assert len(minted) + len(exported) == 40, set(map(repr, answers))
    assert len(set(exported)) == len(exported)
    assert await mint.value("SELECT count(*) FROM memberships") == len(minted)


async def test_an_exported_refund_that_the_store_also_reports_is_refunded(make_mint: MintMaker) -> None:
    mint = await make_mint(capacity=0)
    await sold_out(mint, "q")
    await RefundDesk(mint.database, Actor("operator", "by command")).export()
    assert await apply(mint, notice("REFUND", "q", 1)) == ["REMEMBERED"]
    assert await mint.ledger() == {"REFUNDED REFUND": 1}
    assert await apply(mint, notice("REFUND_REVERSED", "q", 2)) == ["RESTORED"]
    assert await mint.ledger() == {"REFUND_DUE SOLD_OUT": 1}


async def test_a_refund_by_the_operator_stays_after_any_notification(make_mint: MintMaker) -> None:
    mint = await make_mint(capacity=0)
    await sold_out(mint, "q")
    await apply(mint, notice("REFUND", "q", 1), notice("REFUND_REVERSED", "q", 2))
    assert await mint.ledger() == {"FAILED SOLD_OUT": 1}
    desk = RefundDesk(mint.database, Actor("operator", "by command"))
    await desk.mark_refunded([bytes.fromhex(row["receipt_key"]) for row in await desk.export()])
    await apply(mint, notice("REFUND", "q", 3), notice("REFUND_REVERSED", "q", 4))
    assert await mint.ledger() == {"REFUNDED SOLD_OUT": 1}


async def test_a_reversal_without_a_number_is_listed_for_the_operator(
    make_mint: MintMaker, database_url: str, tmp_path: Path
) -> None:
    mint = await make_mint(capacity=1)
    await mint.database.execute("UPDATE drops SET refund_frees_number = true")
    membership, _ = await mint_of(mint, "p", "first owner")
    refund: Notice = notice("REFUND", "p", 1)
    assert refund.signed_at > START
    await apply(mint, refund)
    await mint_of(mint, "q", "second owner")
    assert await apply(mint, notice("REFUND_REVERSED", "p", 2)) == ["NOT_RESTORED"]
    status, out, _ = await vyris(database_url, tmp_path, "not-restored", "--json")
    assert status == 0
    assert [(row["membership_id"], row["user_id"]) for row in json.loads(out)] == [(membership.id, "first owner")]


@pytest.mark.parametrize("arguments", [["xyz"], ["00"], []])
async def test_malformed_receipt_keys_are_refused(database_url: str, tmp_path: Path, arguments: list[str]) -> None:
    status, _, err = await vyris(database_url, tmp_path, "refunded", *arguments)
    assert status == 1
    assert "Traceback" not in err


async def export_rows(mint: Mint, database_url: str, folder: Path) -> list[list[str]]:
    """The rows of an export of four refunds, header first."""
    for number, user in enumerate(("=1+1", "[/x]", "a;b,c", "00123")):
        await sold_out(mint, f"q{number}", user=user)
    status, out, err = await vyris(database_url, folder, "refunds-due", "--csv", "--export")
    assert status == 0, err
    return list(csv.reader(io.StringIO(out)))


async def test_a_list_that_a_spreadsheet_saved_is_taken(
    make_mint: MintMaker, database_url: str, tmp_path: Path
) -> None:
    mint = await make_mint(capacity=0)
    rows = await export_rows(mint, database_url, tmp_path)
    assert [row[5] for row in rows[1:]] == ["'=1+1", "[/x]", "a;b,c", "'00123"]
    saved = io.StringIO()
    writer = csv.writer(saved, delimiter=";")
    writer.writerows([["paid", *reversed(row), ""] for row in rows])
    writer.writerow([""] * 11)
    file = tmp_path / "due.csv"
    file.write_bytes(saved.getvalue().encode("utf-8-sig"))
    status, _, err = await vyris(database_url, tmp_path, "refunded", "--from-csv", str(file))
    assert (status, "Marked 4 receipts" in err) == (0, True), err
    assert await mint.ledger() == {"REFUNDED SOLD_OUT": 4}
    # The same file again changes nothing, and each line says why.
    status, _, err = await vyris(database_url, tmp_path, "refunded", "--from-csv", str(file))
    assert (status, err.count("REFUNDED already")) == (1, 5)
    assert await mint.ledger() == {"REFUNDED SOLD_OUT": 4}


async def test_an_export_of_an_earlier_version_is_taken(
    make_mint: MintMaker, database_url: str, tmp_path: Path
) -> None:
    mint = await make_mint(capacity=0)
    rows = await export_rows(mint, database_url, tmp_path)
    file = tmp_path / "due.csv"
    file.write_text("receipt_key,state\n" + "".join(f"{row[0].removeprefix('receipt:')},FAILED\n" for row in rows[1:]))
    status, _, err = await vyris(database_url, tmp_path, "refunded", "--from-csv", str(file))
    assert (status, "Marked 4 receipts" in err) == (0, True), err


@pytest.mark.parametrize(
    ("spoilt", "says"),
    [("1.23457E+63", "line 3: a number"), ("", "line 3: no receipt key"), ("receipt:12", "line 3: no receipt key")],
)
async def test_a_row_that_cannot_be_read_is_named_by_its_line_and_nothing_is_marked(
    make_mint: MintMaker, database_url: str, tmp_path: Path, spoilt: str, says: str
) -> None:
    mint = await make_mint(capacity=0)
    rows = await export_rows(mint, database_url, tmp_path)
    rows[2][0] = spoilt
    file = tmp_path / "due.csv"
    with file.open("w", newline="") as opened:
        csv.writer(opened).writerows(rows)
    status, _, err = await vyris(database_url, tmp_path, "refunded", "--from-csv", str(file))
    assert (status, says in err) == (1, True), err
    assert await mint.ledger() == {"REFUND_DUE SOLD_OUT": 4}


async def test_receipts_that_wait_for_no_refund_are_named_with_their_state(
    make_mint: MintMaker, database_url: str, tmp_path: Path
) -> None:
    mint = await make_mint(capacity=1)
    await mint_of(mint, "p")
    await sold_out(mint, "q")
    states = {
        row["state"]: row["key"]
        for row in await mint.database.fetch(
            "SELECT state::text, encode(receipt_key, 'hex') AS key FROM receipt_ledger"
        )
    }
    named = [states["FULFILLED"], states["FAILED"], "ab" * 32]
    status, _, err = await vyris(database_url, tmp_path, "refunded", *named)
    assert status == 1
    for key, why in zip(named, ("but FULFILLED", "but FAILED", "no such receipt"), strict=True):
        assert any(key in line and why in line for line in err.splitlines()), err


HOSTILE = ("[/x]", "[web]1001", "[bold]b[/bold]", ":skull:", "[link=http://a]l[/link]")


async def test_every_list_shows_any_user_id(make_mint: MintMaker, database_url: str, tmp_path: Path) -> None:
    mint = await make_mint(capacity=1)
    membership, _ = await mint_of(mint, "p", HOSTILE[0])
    for number, user in enumerate(HOSTILE):
        await sold_out(mint, f"q{number}", user=user)
    for arguments in (["--failed"], ["refunds-due"], ["refunds-due", "--export"], ["refunds-due", "--csv"]):
        status, out, err = await vyris(database_url, tmp_path, *arguments)
        assert status == 0, err
        assert all(user in out for user in HOSTILE), out
    environment = {"DATABASE_URL": database_url, "VYRIS_STATE_DIR": str(tmp_path / "state"), "COLUMNS": "250"}
    for command, output in (
        (["membership", "show", membership.id], "[/x]"),
        (["membership", "show", "[/x]"], "valid UUID"),
        (["user", "erase", "[/x]", "--yes", "--reason", "[/r]"], "Erased"),
    ):
        result = await asyncio.to_thread(CliRunner().invoke, app, command, env=environment)
        assert output in result.output, (result.output, result.exception)
