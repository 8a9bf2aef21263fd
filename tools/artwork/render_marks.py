"""Draws the wordmark and the icon from straight strokes and arcs, so that no font is needed.

Letters are on a grid of 100 units of cap height. Everything is drawn eight
times too large and reduced, which gives clean edges at 29 pixels too.
"""

from __future__ import annotations

import math
from typing import Final

from PIL import Image, ImageDraw

from services.wallet.artwork.palettes import GENESIS, Colour

OVERSIZE: Final = 8
LOGO_WIDTH_PT: Final = 110  # Apple allows 160 x 50 points and advises less.
LOGO_HEIGHT_PT: Final = 50
ICON_PT: Final = 29
CAP_HEIGHT_PT: Final = 17.0
ICON_COLOURS: Final = 128
LOGO_STEPS: Final = 15  # Steps of antialiasing: 16 values of alpha take half a byte a pixel.
STROKE: Final = 11.0
SPACING: Final = 34.0

Stroke = list[tuple[float, float]]


def logo(scale: int) -> Image.Image:
    """Draw the wordmark in white on nothing."""
    size = (LOGO_WIDTH_PT * scale, LOGO_HEIGHT_PT * scale)
    large = Image.new("L", (size[0] * OVERSIZE, size[1] * OVERSIZE), 0)
    unit = CAP_HEIGHT_PT * scale * OVERSIZE / 100
    top = (LOGO_HEIGHT_PT - CAP_HEIGHT_PT) / 2 * scale * OVERSIZE
    left = STROKE / 2 * unit
    for width, strokes in _LETTERS:
        for stroke in strokes:
            _draw(large, [(left + x * unit, top + y * unit) for x, y in stroke], STROKE * unit, 255)
        left += (width + SPACING) * unit
    mask = large.resize(size, Image.Resampling.LANCZOS).point(lambda alpha: round(alpha / 255 * LOGO_STEPS) * 17)
    picture = Image.new("RGBA", size, (*GENESIS.foreground, 0))
    picture.putalpha(mask)
    return picture


def icon(scale: int) -> Image.Image:
    """Draw the monogram: a V whose arms are three threads, on the night of the genesis pass."""
    size = ICON_PT * scale
    large = size * OVERSIZE
    picture = _night(large)
    for index, colour in enumerate((GENESIS.thread, GENESIS.highlight, GENESIS.thread)):
        inset = large * (0.17 + 0.085 * index)
        sole = large * (0.80 - 0.105 * index)
        arms = [(inset, large * 0.24), (large / 2, sole), (large - inset, large * 0.24)]
        _draw(picture, arms, large * 0.038, colour)
    reduced = picture.resize((size, size), Image.Resampling.LANCZOS)
    return reduced.quantize(ICON_COLOURS, dither=Image.Dither.NONE)


def _night(large: int) -> Image.Image:
    glow = Image.radial_gradient("L").resize((large, large), Image.Resampling.BICUBIC)
    inner = Image.new("RGB", (large, large), GENESIS.glow)
    return Image.composite(Image.new("RGB", (large, large), GENESIS.background), inner, glow)


def _draw(picture: Image.Image, points: Stroke, width: float, ink: int | Colour) -> None:
    pen = ImageDraw.Draw(picture)
    pen.line(points, fill=ink, width=round(width), joint="curve")
    for x, y in points[:: max(1, len(points) - 1)]:
        half = width / 2
        pen.ellipse((x - half, y - half, x + half, y + half), fill=ink)


def _arc(centre: tuple[float, float], radii: tuple[float, float], start: int, end: int) -> Stroke:
    """Points on an ellipse, in degrees clockwise from three o'clock."""
    step = 3 if end >= start else -3
    angles = [math.radians(degree) for degree in range(start, end + step, step)]
    return [(centre[0] + radii[0] * math.cos(angle), centre[1] + radii[1] * math.sin(angle)) for angle in angles]


def _s_curve() -> Stroke:
    upper = _arc((32, 26), (30, 26), -35, -270)
    lower = _arc((32, 76), (32, 24), -90, 145)
    return upper + lower


_LETTERS: Final[tuple[tuple[float, list[Stroke]], ...]] = (
    (84, [[(0, 0), (42, 100), (84, 0)]]),
    (80, [[(0, 0), (40, 54), (80, 0)], [(40, 54), (40, 100)]]),
    (66, [[(0, 100), (0, 0), (36, 0), *_arc((36, 27), (27, 27), -90, 90), (0, 54)], [(34, 54), (66, 100)]]),
    (0, [[(0, 0), (0, 100)]]),
    (64, [_s_curve()]),
)
