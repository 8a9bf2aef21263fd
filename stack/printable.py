"""Text that others wrote, made safe to show on a terminal."""

from __future__ import annotations


def printable(text: str, *, keeps_lines: bool = False) -> str:
    """`text` with an escape such as `u202e` for every character that a terminal would obey or not show.

    Escape sequences move the cursor, change the title or hide what stands before; characters that turn the direction of
    writing show another name. `keeps_lines` lets line ends and tabs through.
    """
    if text.isprintable():
        return text
    kept = "\n\t" if keeps_lines else ""
    return "".join(
        character if character.isprintable() or character in kept else _escape(character) for character in text
    )


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
