"""What a person types or pastes, in the spelling that we compare.

A keyboard has other digits, a full-width @ or a capital letter, a mail program adds a line break or a full stop. Such
input is right in substance: it is read as what it means. Ids that machines hand over (`user_id`, `device_id`) are
compared exactly and never come here.
"""

from __future__ import annotations

import unicodedata
from typing import Final

import idna

TYPED_LIMIT: Final = 64
"""Characters of a code or a name that are looked at. Longer input has not the form of one."""

# Full-width forms of ASCII (U+FF01 to U+FF5E) and the ideographic full stop. No more: NFKC makes an a of U+00AA, and so
# another person's address.
_FULL_WIDTH: Final = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x3002: ".", 0xFF61: "."}
# What stands around a link or token in a sentence, and is no part of one.
_PUNCTUATION: Final = ".,;:!?'\"()<>[]{}\u2026\u00ab\u00bb\u2039\u203a\u2018\u2019\u201c\u201d\u201e"
# Blanks, and characters that nobody sees: zero-width ones, marks of direction, soft hyphens.
_UNSEEN: Final = frozenset({"Cc", "Cf", "Zs", "Zl", "Zp"})
# Hyphens of every kind, and the minus.
_HYPHENS: Final = frozenset({"Pd"})
_MINUS: Final = "\u2212"


def typed_digits(text: str) -> str:
    """The digits of a code that a person typed, in ASCII; empty where it holds anything that is no digit.

    Blanks and hyphens are left out. Digits of every script count (Unicode's decimal digits).
    """
    if len(text) > TYPED_LIMIT:
        return ""
    digits = []
    for character in unicodedata.normalize("NFKC", text):
        category = unicodedata.category(character)
        if category in _UNSEEN or category in _HYPHENS or character == _MINUS:
            continue
        digit = unicodedata.decimal(character, None)
        if digit is None:
            return ""
        digits.append(str(digit))
    return "".join(digits)


def typed_word(text: str) -> str:
    """A drop's tier or year as a person types it: NFKC, lower case, without blanks around."""
    return unicodedata.normalize("NFKC", text).strip().lower() if len(text) <= TYPED_LIMIT else text


def pasted_token(text: str) -> str:
    """A token as it was pasted out of a mail: without line breaks, blanks and the punctuation of a sentence."""
    return "".join(character for character in text if unicodedata.category(character) not in _UNSEEN).strip(
        _PUNCTUATION
    )


def typed_address(text: str) -> str:
    """An e-mail address: full-width characters in ASCII, no blanks around, the domain in lower case and ASCII (IDNA).

    The part before the @ keeps its spelling: only its mail server knows what it means. What is no address comes back
    as it is, for the check that follows.
    """
    plain = text.translate(_FULL_WIDTH).strip().strip("\u200b\u200e\u200f\u2060\ufeff")
    local, at, domain = plain.rpartition("@")
    if not at or not domain:
        return plain
    if not domain.isascii():
        try:
            domain = idna.encode(domain, uts46=True, transitional=False).decode("ascii")
        except (idna.IDNAError, UnicodeError):
            return plain
    return f"{local}@{domain.lower()}"
