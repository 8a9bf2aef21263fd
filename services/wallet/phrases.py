"""The phrases on a pass, in all its languages.

The English phrase is the key, so a phone with another language shows English. Apple: a pass's
`<language>.lproj/pass.strings`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Language(StrEnum):
    """The languages of passes. Phrases are keyed by the first one."""

    EN = "en"
    DE = "de"
    FR = "fr"


LANGUAGES: Final = tuple(Language)

_TRANSLATIONS: Final[dict[str, tuple[str, str]]] = {
    "MEMBER NO.": ("MITGLIED NR.", "MEMBRE Nº"),
    "TIER": ("STUFE", "NIVEAU"),
    "YEAR": ("JAHR", "ANNÉE"),
    "SINCE": ("SEIT", "DEPUIS"),
    "SANDBOX": ("SANDBOX", "SANDBOX"),
    "NOT A REAL PURCHASE": ("KEIN ECHTER KAUF", "ACHAT FICTIF"),
    "STATUS": ("STATUS", "STATUT"),
    "Active": ("Aktiv", "Active"),
    "Revoked": ("Widerrufen", "Révoquée"),
    "Moved": ("Umgezogen", "Transférée"),
    "Your membership: %@": ("Deine Mitgliedschaft: %@", "Votre adhésion : %@"),
    "VYRIS membership": ("VYRIS-Mitgliedschaft", "Adhésion VYRIS"),
    "Pass": ("Pass", "Passe"),
    "About this pass": ("Über diesen Pass", "À propos de ce passe"),
    "This pass shows one numbered membership. Show its code to be recognised as a member. "
    "It updates by itself when the membership changes.": (
        "Dieser Pass zeigt eine nummerierte Mitgliedschaft. Zeige seinen Code, um als Mitglied erkannt zu werden. "
        "Er aktualisiert sich von selbst, wenn sich die Mitgliedschaft ändert.",
        "Ce passe représente une adhésion numérotée. Présentez son code pour être reconnu comme membre. "
        "Il se met à jour de lui-même lorsque l'adhésion change.",
    ),
}

SANDBOX: Final = "SANDBOX"
NOT_PAID: Final = "NOT A REAL PURCHASE"
ABOUT: Final = next(phrase for phrase in _TRANSLATIONS if phrase.startswith("This pass shows"))


def translate(phrase: str, language: str) -> str:
    """Translate `phrase` into `language`. Return `phrase` itself if the phrase or the language is unknown."""
    if language not in LANGUAGES or phrase not in _TRANSLATIONS:
        return phrase
    return (phrase, *_TRANSLATIONS[phrase])[LANGUAGES.index(language)]


def strings_files() -> dict[str, bytes]:
    """Return the `pass.strings` of every language: path in the pass to UTF-8 bytes."""
    return {
        f"{language}.lproj/pass.strings": "".join(
            f"{_quote(phrase)} = {_quote(translate(phrase, language))};\n" for phrase in _TRANSLATIONS
        ).encode()
        for language in LANGUAGES
    }


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
