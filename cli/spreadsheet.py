"""CSV that people open in a spreadsheet, edit, save and send back.

A spreadsheet executes cells that look like a formula, and keeps only fifteen digits of a long number. We write an
apostrophe before such cells. The file that comes back may have other separators, another encoding, other columns and
other line ends.
"""

from __future__ import annotations

import csv
import io
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, Final

from services.server.runtime.times import rfc3339
from stack.printable import printable

FILE_LIMIT_BYTES: Final = 64 << 20
SEPARATORS: Final = ",;\t|"
# There may be titles and empty lines above the header.
HEADER_WITHIN_ROWS: Final = 10
QUOTED: Final = "'"
FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r", QUOTED)
_LIKE_A_NUMBER_OR_DATE: Final = re.compile(r"[0-9.,:/eE+\- ]+")
_KEPT_NUMBER: Final = re.compile(r"[1-9][0-9]{0,14}|0")
# A workbook is a ZIP archive; older ones are OLE2 files.
_WORKBOOKS: Final = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")


class UnreadableFile(Exception):
    """The file is unreadable. The message says why, and what to do."""


def print_csv(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Write rows of `columns` to stdout."""
    writer = csv.writer(sys.stdout)
    writer.writerow(columns)
    writer.writerows([cell(row[column]) for column in columns] for row in rows)


def cell(value: object) -> str:
    """Make a cell that a spreadsheet does not change."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return rfc3339(value)
    text = str(value)
    looks_like_number = _LIKE_A_NUMBER_OR_DATE.fullmatch(text) and not _KEPT_NUMBER.fullmatch(text)
    return printable(f"{QUOTED}{text}" if looks_like_number or text.startswith(FORMULA_STARTS) else text)


def read_column(file: Path, name: str) -> list[tuple[int, str]]:
    """Read the cells of one column with their line numbers. Raises UnreadableFile.

    Skips empty rows. Returns an empty cell of a row that is not empty.
    """
    rows = _rows(_text(file), name)
    for _, header in islice(rows, HEADER_WITHIN_ROWS):
        places = [place for place, title in enumerate(header) if _plain(title) == name]
        if len(places) > 1:
            raise UnreadableFile(f"The file has the column {name} {len(places)} times: keep one.")
        if places:
            cells = [(line, read_cell(row[places[0]]) if places[0] < len(row) else "") for line, row in rows]
            return [(line, text) for line, text in cells if _plain(text) != name]  # files that were joined
    raise UnreadableFile(f"The file has no column {name}.")


def _text(file: Path) -> str:
    with file.open("rb") as opened:
        raw = opened.read(FILE_LIMIT_BYTES + 1)
    if len(raw) > FILE_LIMIT_BYTES:
        raise UnreadableFile(f"The file has more than {FILE_LIMIT_BYTES >> 20} MiB.")
    if raw.startswith(_WORKBOOKS):
        raise UnreadableFile("The file is a workbook: save the sheet as CSV.")
    try:
        return raw.decode(_encoding(raw)).removeprefix("\ufeff")
    except UnicodeDecodeError:
        # A spreadsheet's "ANSI": people's remarks may contain any letter, our own columns are ASCII.
        return raw.decode("latin-1")


def _encoding(raw: bytes) -> str:
    """Detect the encoding by the byte order mark; without one, UTF-16 by the zeros of its ASCII."""
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    start = raw[:64]
    if b"\0" not in start:
        return "utf-8"
    return "utf-16-le" if start[1::2].count(0) > start[::2].count(0) else "utf-16-be"


def _rows(text: str, name: str) -> Iterator[tuple[int, list[str]]]:
    """Read the rows that are not empty, with the numbers of their first lines."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_separator(text, name))
    begins = 1
    try:
        for row in reader:
            if any(_strip_protection(entry) for entry in row):
                yield begins, row
            begins = reader.line_num + 1
    except csv.Error as problem:
        raise UnreadableFile(f"Line {reader.line_num} of the file is no CSV: {problem}.") from None


def _separator(text: str, name: str) -> str:
    """Detect the separator: the one with which a line near the top has the column `name`; otherwise a comma."""
    for line in io.StringIO(text).read(1 << 16).splitlines()[:HEADER_WITHIN_ROWS]:
        for separator in SEPARATORS:
            if name in map(_plain, next(csv.reader([line], delimiter=separator), [])):
                return separator
    return ","


def _plain(title: str) -> str:
    return re.sub(r"[\s_-]+", "_", _strip_protection(title).lower())


def _strip_protection(entry: str) -> str:
    return entry.strip().strip("\ufeff\u200b").strip()


def read_cell(entry: str) -> str:
    """The text of `cell`, without the apostrophe, and without the ="…" with which people protect cells."""
    text = _strip_protection(entry)
    if text.startswith('="') and text.endswith('"'):
        text = text[2:-1]
    return text.removeprefix(QUOTED)
