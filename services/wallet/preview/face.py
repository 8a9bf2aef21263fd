"""The parts of a pass that a phone shows, in one language. Page and picture both use it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from services.wallet.opened_pass import OpenedPass

_MONTHS: Final = {
    "en": "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec",
    "de": "Jan. Feb. März Apr. Mai Juni Juli Aug. Sept. Okt. Nov. Dez.",
    "fr": "janv. févr. mars avr. mai juin juil. août sept. oct. nov. déc.",
}


@dataclass(frozen=True, slots=True)
class FaceField:
    """A label above a value, both translated."""

    label: str
    value: str


@dataclass(frozen=True, slots=True)
class Face:
    """Front and back of a pass. Colours are CSS `rgb(...)` texts."""

    language: str
    description: str
    background: str
    foreground: str
    label: str
    header: list[FaceField]
    primary: list[FaceField]
    secondary: list[FaceField]
    back: list[FaceField]
    barcode_message: str
    barcode_text: str
    voided: bool


def face_of(opened: OpenedPass, language: str) -> Face:
    """Read the face of `opened` in `language`."""
    document = opened.document
    card = document.get("storeCard", {})
    barcode = document.get("barcodes", [{}])[0]

    def fields(group: str) -> list[FaceField]:
        return [_field(opened, field, language) for field in card.get(group, [])]

    return Face(
        language=language,
        description=opened.translate(document.get("description", ""), language),
        background=document.get("backgroundColor", "rgb(0, 0, 0)"),
        foreground=document.get("foregroundColor", "rgb(255, 255, 255)"),
        label=document.get("labelColor", "rgb(200, 200, 200)"),
        header=fields("headerFields"),
        primary=fields("primaryFields"),
        secondary=fields("secondaryFields") + fields("auxiliaryFields"),
        back=fields("backFields"),
        barcode_message=barcode.get("message", ""),
        barcode_text=barcode.get("altText", ""),
        voided=bool(document.get("voided", False)),
    )


def _field(opened: OpenedPass, field: dict[str, Any], language: str) -> FaceField:
    value = str(field.get("value", ""))
    shown = _date(value, language) if "dateStyle" in field else opened.translate(value, language)
    return FaceField(opened.translate(str(field.get("label", "")), language), shown)


def _date(text: str, language: str) -> str:
    moment = datetime.fromisoformat(text)
    months = _MONTHS.get(language, _MONTHS["en"]).split()
    point = "." if language == "de" else ""
    return f"{moment.day}{point} {months[moment.month - 1]} {moment.year}"
