"""Make untrusted text safe to show on a terminal."""

from __future__ import annotations


def printable(text: str, *, keeps_lines: bool = False) -> str:
    """Replace every control or invisible character by an escape such as `u202e`.

    Escape sequences can move the cursor, change the title or hide text; characters that change the direction of writing
    can show another name. `keeps_lines`: keep line ends and tabs.
    """
    if text.isprintable():
        return text
    kept = "\n\t" if keeps_lines else ""
    return "".join(
        character if character.isprintable() or character in kept else _escape(character) for character in text
    )


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
