"""Normalise text that a person types or pastes, before it is compared.

A keyboard may write other digits, a full-width @ or a capital letter; a mail program may add a line break or a full
stop. We accept such input for what it means. Ids from programs (`user_id`, `device_id`) are compared exactly and are
not normalised.
"""

from __future__ import annotations

import unicodedata
from typing import Final

import idna

TYPED_LIMIT: Final = 64
"""The most characters of a code or a name. Longer input is neither."""

# Full-width forms of ASCII (U+FF01 to U+FF5E) and the ideographic full stop. Not all of NFKC: it turns U+00AA into an
# a, and so one address into another person's.
_FULL_WIDTH: Final = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x3002: ".", 0xFF61: "."}
# Punctuation around a link or token in a sentence, not part of it.
_PUNCTUATION: Final = ".,;:!?'\"()<>[]{}\u2026\u00ab\u00bb\u2039\u203a\u2018\u2019\u201c\u201d\u201e"
# Blanks and invisible characters: zero-width ones, marks of direction, soft hyphens.
_UNSEEN: Final = frozenset({"Cc", "Cf", "Zs", "Zl", "Zp"})
# Hyphens of every kind, and the minus.
_HYPHENS: Final = frozenset({"Pd"})
_MINUS: Final = "\u2212"


def typed_digits(text: str) -> str:
    """The digits of a code that a person typed, in ASCII; empty if it contains other characters.

    Removes blanks and hyphens. Accepts digits of every script (Unicode's decimal digits).
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
    """Normalise a drop's tier or year as a person types it: NFKC, lower case, no surrounding blanks."""
    return unicodedata.normalize("NFKC", text).strip().lower() if len(text) <= TYPED_LIMIT else text


def pasted_token(text: str) -> str:
    """Normalise a token that was pasted from a mail: remove line breaks, blanks and a sentence's punctuation."""
    return "".join(character for character in text if unicodedata.category(character) not in _UNSEEN).strip(
        _PUNCTUATION
    )


def typed_address(text: str) -> str:
    """Normalise an e-mail address: full-width characters to ASCII, no blanks around it, the domain in lower-case IDNA.

    The part before the @ keeps its spelling, because only its mail server knows what it means. A text that is not an
    address is returned unchanged; the next check refuses it.
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
