"""The preview as a picture, drawn with Pillow (a tool of development, not of the services)."""

from __future__ import annotations

import io
import re
from typing import Final

import segno
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont

from services.wallet.opened_pass import OpenedPass
from services.wallet.preview.face import Face, FaceField, face_of

SCALE: Final = 3
CARD_PT: Final = (375, 512)
MARGIN_PT: Final = 28
PADDING_PT: Final = 15
STRIP_TOP_PT: Final = 62
ROW_TOP_PT: Final = 222
CODE_PT: Final = 150
CODE_TOP_PT: Final = 300
PAGE: Final = (27, 28, 33)

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def preview_png(opened: OpenedPass, language: str = "en") -> bytes:
    """Return the front of the pass as PNG bytes, three pixels a point."""
    face = face_of(opened, language)
    card = Image.new("RGB", _px(*CARD_PT), _rgb(face.background))
    pen = ImageDraw.Draw(card)
    _paste(card, opened, "strip@3x.png", (0, STRIP_TOP_PT))
    _paste(card, opened, "logo@3x.png", (PADDING_PT, (STRIP_TOP_PT - 50) / 2))
    right = CARD_PT[0] - PADDING_PT
    for field in face.header:
        _field(pen, field, face, (right, 14), anchor="r")
    for field in face.primary:
        _number(card, field, face)
    _row(pen, face)
    _code(card, face)
    if face.voided:
        card = ImageEnhance.Brightness(ImageEnhance.Color(card).enhance(0.15)).enhance(0.7)
    buffer = io.BytesIO()
    _on_page(card).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _paste(card: Image.Image, opened: OpenedPass, name: str, at_pt: tuple[float, float]) -> None:
    if name in opened.files:
        picture = Image.open(io.BytesIO(opened.files[name])).convert("RGBA")
        card.paste(picture, _px(*at_pt), picture)


def _field(
    pen: ImageDraw.ImageDraw, field: FaceField, face: Face, at_pt: tuple[float, float], anchor: str = "l"
) -> None:
    x, y = at_pt
    # By their baselines, so that typefaces of different heights are level.
    pen.text(_px(x, y + 9), field.label, _rgb(face.label), _font(field.label, 10.5), anchor=anchor + "s")
    pen.text(_px(x, y + 28), field.value, _rgb(face.foreground), _font(field.value, 17), anchor=anchor + "s")


def _number(card: Image.Image, field: FaceField, face: Face) -> None:
    """Draw the primary field over the strip, with the soft shadow that Wallet gives it."""
    value_at, label_at = _px(PADDING_PT, STRIP_TOP_PT + 100), _px(PADDING_PT + 1, STRIP_TOP_PT + 124)
    value_font, label_font = _font(field.value, 60), _font(field.label, 11)
    shadow = Image.new("L", card.size, 0)
    ImageDraw.Draw(shadow).text(value_at, field.value, 150, value_font, anchor="ls")
    card.paste((0, 0, 0), (0, 0), shadow.filter(ImageFilter.GaussianBlur(3 * SCALE)))
    pen = ImageDraw.Draw(card)
    pen.text(value_at, field.value, _rgb(face.foreground), value_font, anchor="ls")
    pen.text(label_at, field.label, _rgb(face.label), label_font, anchor="ls")


def _row(pen: ImageDraw.ImageDraw, face: Face) -> None:
    last = len(face.secondary) - 1
    inner = CARD_PT[0] - 2 * PADDING_PT
    for index, field in enumerate(face.secondary):
        if index == last and last > 0:
            _field(pen, field, face, (CARD_PT[0] - PADDING_PT, ROW_TOP_PT), anchor="r")
        else:
            _field(pen, field, face, (PADDING_PT + index * inner / max(last, 1) * 0.8, ROW_TOP_PT))


def _code(card: Image.Image, face: Face) -> None:
    pen = ImageDraw.Draw(card)
    left = (CARD_PT[0] - CODE_PT) / 2 - 12
    box = (left, CODE_TOP_PT, left + CODE_PT + 24, CODE_TOP_PT + CODE_PT + 38)
    pen.rounded_rectangle([*_px(*box[:2]), *_px(*box[2:])], radius=8 * SCALE, fill="white")
    modules = Image.open(io.BytesIO(_code_png(face.barcode_message))).convert("RGB")
    code = modules.resize(_px(CODE_PT, CODE_PT), Image.Resampling.NEAREST)
    card.paste(code, _px(left + 12, CODE_TOP_PT + 12))
    text_at = _px(CARD_PT[0] / 2, CODE_TOP_PT + CODE_PT + 28)
    pen.text(text_at, face.barcode_text, (40, 40, 44), _font(face.barcode_text, 11), anchor="ms")


def _code_png(message: str) -> bytes:
    buffer = io.BytesIO()
    segno.make(message, error="m", micro=False).save(buffer, kind="png", border=0, scale=1)
    return buffer.getvalue()


def _on_page(card: Image.Image) -> Image.Image:
    width, height = _px(CARD_PT[0] + 2 * MARGIN_PT, CARD_PT[1] + 2 * MARGIN_PT)
    corner = 14 * SCALE
    mask = Image.new("L", card.size, 0)
    ImageDraw.Draw(mask).rounded_rectangle([0, 0, card.width - 1, card.height - 1], radius=corner, fill=255)
    shadow = Image.new("L", (width, height), 0)
    at = _px(MARGIN_PT, MARGIN_PT)
    shadow.paste(mask.point(lambda level: level * 0.6), (at[0], at[1] + 6 * SCALE))
    page = Image.new("RGB", (width, height), PAGE)
    page.paste((0, 0, 0), (0, 0), shadow.filter(ImageFilter.GaussianBlur(9 * SCALE)))
    page.paste(card, at, mask)
    return page


def _font(text: str, size_pt: float) -> Font:
    size = round(size_pt * SCALE)
    if not re.fullmatch(r"[\x20-\x7e·]*", text):  # Pillow's own typeface has no accents.
        try:
            return ImageFont.truetype("DejaVuSans.ttf", round(size * 0.92))
        except OSError:
            pass
    return ImageFont.load_default(size)


def _px(x: float, y: float) -> tuple[int, int]:
    return round(x * SCALE), round(y * SCALE)


def _rgb(css: str) -> tuple[int, int, int]:
    red, green, blue = (int(part) for part in re.findall(r"\d+", css)[:3])
    return red, green, blue
