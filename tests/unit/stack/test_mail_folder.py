"""The names of kept messages."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from stack.mail import MailFolder


def envelope(text: bytes) -> Any:
    return SimpleNamespace(original_content=text, rcpt_tos=["owner@example.org"])


def test_names_sort_by_arrival_even_when_the_clock_went_back(tmp_path: Path) -> None:
    from_the_future = tmp_path / "20990101T000000.000000Z.eml"
    from_the_future.write_bytes(b"0")
    folder = MailFolder(tmp_path)
    server: Any = None
    for number in range(1, 4):
        asyncio.run(folder.handle_DATA(server, server, envelope(str(number).encode())))
    assert [path.read_bytes() for path in sorted(tmp_path.glob("*.eml"))] == [b"0", b"1", b"2", b"3"]
    assert not list(tmp_path.glob(".*"))
