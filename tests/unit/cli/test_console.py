"""Untrusted text is shown literally: no markup, no emoji codes, no escape sequences."""

from __future__ import annotations

import io
import json
from collections.abc import Callable

import pytest
import typer
from rich.table import Table

from cli import console
from cli.console import PlainConsole
from stack.log_lines import readable
from stack.printable import printable

# A text, and how it is shown. A user id may be any of the printable ones.
SHOWN = {
    "[/x]": "[/x]",
    "[/]": "[/]",
    "[web]1001": "[web]1001",
    "[bold red]a[/bold red]": "[bold red]a[/bold red]",
    "[link=http://a.example]b[/link]": "[link=http://a.example]b[/link]",
    "[@click=quit]x": "[@click=quit]x",
    ":skull: :x:": ":skull: :x:",
    "\\[x]": "\\[x]",
    "\x1b[2J\x1b]0;title\x07": "\\x1b[2J\\x1b]0;title\\x07",
    "\x9b31m": "\\x9b31m",
    "a\rb\x08c\x7f": "a\\rb\\x08c\\x7f",
    "\u202egnp.exe\u2066": "\\u202egnp.exe\\u2066",
    "zero\u200bwidth\u2028x": "zero\\u200bwidth\\u2028x",
    "\ud800": "\\ud800",
    "Zoë 王 🎉": "Zoë 王 🎉",
}


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    """The output of `out` and `err` to a terminal of 200 columns, without styles."""
    file = io.StringIO()
    for name in ("out", "err"):
        fake = PlainConsole(file=file, width=200, soft_wrap=True, force_terminal=True, no_color=True, color_system=None)
        monkeypatch.setattr(console, name, fake)
    return file.getvalue


@pytest.mark.parametrize("text", SHOWN)
def test_text_is_shown_as_it_is_everywhere(text: str, screen: Callable[[], str]) -> None:
    shown = SHOWN[text]
    table = Table(text, title=text)
    table.add_row(text)
    for show in (
        lambda: console.out.print(text),
        lambda: console.err.print(f"Erased {text}."),
        lambda: console.out.print(table),
        lambda: console.show([{"user_id": text}], ["user_id"], as_json=False, empty=""),
        lambda: console.show([], [], as_json=False, empty=text),
        lambda: console.show_one({text: text}, as_json=False),
    ):
        before = len(screen())
        show()
        assert shown in screen()[before:]
        assert "\x1b" not in screen()[before:]
    with pytest.raises(typer.Exit):
        console.fail(f"No: {text}.")
    assert f"No: {shown}." in screen()


@pytest.mark.parametrize("text", SHOWN)
def test_json_is_the_text_itself_and_nothing_a_terminal_obeys(text: str, screen: Callable[[], str]) -> None:
    console.show_one({"user_id": text}, as_json=True)
    assert json.loads(screen()) == {"user_id": text}
    assert all(character.isprintable() or character in "\n\x7f" for character in screen())


def test_a_cell_cannot_make_a_row_of_its_own(screen: Callable[[], str]) -> None:
    console.show([{"a": "x\nREFUNDED  y"}], ["a"], as_json=False, empty="")
    assert "x\\nREFUNDED  y" in screen()


@pytest.mark.parametrize("text", SHOWN)
def test_log_lines_show_it_too(text: str) -> None:
    shown = SHOWN[text]
    raised = {"exc_type": "ValueError", "exc_value": text, "frames": [{"filename": "a.py", "lineno": 7}]}
    for line in (
        json.dumps({"event": "failed", "level": "error", "user": text, "exception": [raised]}),
        json.dumps({"event": text}),
        json.dumps({"event": "failed", "exception": text.replace("\r", "").replace("\u2028", "")}),
        json.dumps({"method": "GET", "path": text, "status": 404, "error": text}),
        f"LOG:  {text}" if "\ud800" not in text else json.dumps([text]),
    ):
        plain = readable("mint", line, "cyan").plain
        assert all(character.isprintable() or character == "\n" for character in plain)
    assert shown in readable("mint", json.dumps({"event": "e", "user": text}), "cyan").plain


def test_lines_are_kept_where_lines_are_meant() -> None:
    assert printable("a\n\tb\x1b", keeps_lines=True) == "a\n\tb\\x1b"
    assert printable("a\nb") == "a\\nb"
