"""Files that spreadsheets save are readable: the kinds of file that people send back."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from cli.spreadsheet import UnreadableFile, cell, read_cell, read_column

KEYS = ["receipt:" + "0e12" * 16, "receipt:" + "1" * 64, "receipt:" + "ab" * 32]
HEADER = ["receipt_key", "user_id", "created_at"]
ROWS = [[key, f'a "user", {number}; x', "2026-01-02T03:04:05.678Z"] for number, key in enumerate(KEYS)]


def save(rows: list[list[str]], delimiter: str = ",", ends: str = "\r\n", quoting: int = csv.QUOTE_MINIMAL) -> str:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator=ends, quoting=quoting).writerows(rows)
    return text.getvalue()


TABLE = [HEADER, *ROWS]
SAVED: dict[str, bytes] = {
    "as exported": save(TABLE).encode(),
    "UTF-8 with a byte order mark": save(TABLE).encode("utf-8-sig"),
    "semicolons": save(TABLE, ";").encode("utf-8-sig"),
    "tabs": save(TABLE, "\t").encode(),
    "Unicode text": save(TABLE, "\t").encode("utf-16"),
    "UTF-16, big endian": b"\xfe\xff" + save(TABLE, "\t").encode("utf-16-be"),
    "UTF-16 without a mark": save(TABLE, ";").encode("utf-16-le"),
    "bars": save(TABLE, "|").encode(),
    "lone line feeds": save(TABLE, ends="\n").encode(),
    "lone carriage returns": save(TABLE, ends="\r").encode(),
    "everything quoted": save(TABLE, ";", quoting=csv.QUOTE_ALL).encode("utf-8-sig"),
    "no end of the last line": save(TABLE).rstrip().encode(),
    "a line that names the separator": b"sep=;\r\n" + save(TABLE, ";").encode(),
    "a title above": save([["Refunds of January", "", ""], ["", "", ""], *TABLE], ";").encode(),
    "reordered, with a column more": save(
        [["paid", *reversed(HEADER)], *(["yes", *reversed(row)] for row in ROWS)]
    ).encode(),
    "one column alone": save([row[:1] for row in TABLE]).encode(),
    "another spelling of the header": save([[" Receipt Key ", "User-ID", "Created At"], *ROWS]).encode(),
    "a header with a mark and a hard blank": save([["\ufeffReceipt\u00a0Key", *HEADER[1:]], *ROWS]).encode(),
    "blank rows and columns": save(
        [[*HEADER, "", ""], *([*row, "", ""] for row in ROWS), ["", "", "", "", ""], [" ", "\t", "", "", ""], []]
    ).encode(),
    "dates rewritten": save([HEADER, *([*row[:2], "02.01.2026 03:04"] for row in ROWS)], ";").encode(),
    "a remark in the letters of a region": save(
        [[*HEADER, "Bemerkung"], *([*row, "zurückgezahlt"] for row in ROWS)], ";"
    ).encode("cp1252"),
    "blanks around the keys": save([HEADER, *([f" {key}\u00a0", "", ""] for key, *_ in ROWS)]).encode(),
    "keys protected by hand": save([HEADER, *([f'="{key}"', "", ""] for key, *_ in ROWS)]).encode(),
    "keys with an apostrophe": save([HEADER, *([f"'{key}", "", ""] for key, *_ in ROWS)]).encode(),
    "two files joined": (save(TABLE[:2]) + save([HEADER, *TABLE[2:]])).encode(),
    "a remark of two lines": save([[*HEADER, "note"], *([*row, "one\ntwo"] for row in ROWS)]).encode(),
}


@pytest.mark.parametrize("kind", SAVED)
def test_a_column_is_read_out_of_every_file_that_a_spreadsheet_saves(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "due.csv"
    file.write_bytes(SAVED[kind])
    assert [text for _, text in read_column(file, "receipt_key")] == KEYS


def test_each_cell_comes_with_the_line_on_which_its_row_begins(tmp_path: Path) -> None:
    file = tmp_path / "due.csv"
    file.write_bytes(b'receipt_key,note\r\n\r\none,"a\r\nb"\r\ntwo,\r\n,forgotten\r\n')
    assert read_column(file, "receipt_key") == [(3, "one"), (5, "two"), (6, "")]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "no column receipt_key"),
        (b"key,user\r\n1,2\r\n", "no column receipt_key"),
        (b"receipt_key,Receipt Key\r\n1,2\r\n", "2 times"),
        (b"PK\x03\x04rest", "workbook"),
        (b"\xd0\xcf\x11\xe0rest", "workbook"),
        (b"receipt_key\r\n" + b"x" * 200_000, "Line 2 of the file is no CSV"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_with_a_sentence(content: bytes, says: str, tmp_path: Path) -> None:
    file = tmp_path / "due.csv"
    file.write_bytes(content)
    with pytest.raises(UnreadableFile, match=says):
        read_column(file, "receipt_key")


HOSTILE = ["=1+1", "+49", "-1", "@SUM(A1)", "\tx", "'=1", "1e5", "00123", "2000000123456789", "1-2", "3/4", "+1,5"]


@pytest.mark.parametrize("text", HOSTILE)
def test_what_a_spreadsheet_would_run_or_change_is_text_and_comes_back(text: str) -> None:
    written = cell(text)
    assert written.startswith("'")
    if "\t" not in text:
        assert read_cell(written) == text


@pytest.mark.parametrize("text", ["buyer", "2025", "0", "[web]1001", "a=b", "7d0f9a52-0000-4000-8000-000000000000"])
def test_what_a_spreadsheet_leaves_alone_is_written_as_it_is(text: str) -> None:
    assert cell(text) == text
