"""Draws a tier's strip: a guilloche rosette, as engraved on banknotes, over leaves of flat colour.

A guilloche is a family of closed curves r(angle) whose phase advances from one curve to the next. The curves of a band
touch its two edges. Inside each edge the ground is one step lighter, and between the edges it has a touch of the lace's
colour, so the rosette glows towards its centre.

The strip is drawn so that a PNG of it is small: few colours (flat ground, lines with two steps of antialiasing), no
gradient and no noise. The waves on the left are copies of one line, a whole number of pixels apart, so deflate stores
one of them. That side stays calm because Wallet writes the number there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from services.wallet.artwork.palettes import Palette

Field = NDArray[np.float64]
Points = list[tuple[float, float]]

WIDTH_PT: Final = 375
HEIGHT_PT: Final = 144  # Apple: 375 x 144 points for a store card.
CENTRE_PT: Final = (296.0, 72.0)
REACH_PT: Final = 132.5  # The rosette's outer edge runs past the strip.
OVERSIZE: Final = 4
# A line's edge has this many steps from nothing to full. One more makes a strip a tenth heavier, and nobody sees it.
COVER_STEPS: Final = 3
LINE_PT: Final = 0.42
EDGE_PT: Final = 0.75
POINTS_PER_CURVE: Final = 2_880
WAVE_STEP_PT: Final = 6
WAVE_LINE_PT: Final = 0.4
# Strength of a line from which its colour turns from the palette's thread to its highlight.
HIGHLIGHT_FROM: Final = 0.62
GLOW_BEND: Final = 0.6  # Below 1: the outer leaves are lighter than in even steps.
LACE_GLOW: Final = 0.17  # How much of the lace's colour the ground under it has.


@dataclass(frozen=True)
class _Band:
    """A ring of lace: one wave drawn `curves` times, each a step of phase further. Lengths in reaches."""

    radius: float
    swing: float
    bend: float
    waves: int  # For each petal of the palette.
    curves: int
    strength: float


_BANDS: Final = (
    _Band(0.970, 0.170, 0.070, waves=3, curves=8, strength=0.50),
    _Band(0.660, 0.150, 0.060, waves=2, curves=8, strength=0.66),
    _Band(0.400, 0.120, 0.045, waves=2, curves=8, strength=0.82),
    _Band(0.210, 0.085, 0.030, waves=1, curves=7, strength=0.92),
    _Band(0.085, 0.050, 0.012, waves=1, curves=5, strength=1.00),
)


def strip(palette: Palette, scale: int) -> Image.Image:
    """Draw the strip at `scale` pixels a point; the same palette gives the same picture."""
    leaves = Image.new("L", _size(scale), 0)
    lines = np.zeros(_size(scale)[::-1])
    lace_glow = [0.0]
    for band in _BANDS:
        lines = np.maximum(lines, band.strength * _lace(palette, band, scale))
        for side, strength in ((1, LACE_GLOW * band.strength), (-1, 0.0)):
            ImageDraw.Draw(leaves).polygon(_edge(palette, band, side, scale), fill=len(lace_glow))
            lace_glow.append(strength)
    leaf = np.asarray(leaves)
    lines = np.maximum(lines, np.where(leaf == 0, _waves(palette, scale), 0))
    glow = (leaf / (len(lace_glow) - 1)) ** GLOW_BEND
    thread, highlight = np.array(palette.thread), np.array(palette.highlight)
    ground = _mix(np.array(palette.background), np.array(palette.glow), glow)
    ground = _mix(ground, thread, np.array(lace_glow)[leaf])
    ink = _mix(thread, highlight, np.clip((lines - HIGHLIGHT_FROM) / (1 - HIGHLIGHT_FROM), 0, 1))
    return Image.fromarray(np.round(_mix(ground, ink, lines)).astype(np.uint8), mode="RGB")


def _lace(palette: Palette, band: _Band, scale: int) -> Field:
    """How much of each pixel the band's lines and its two edges cover."""
    canvas = _Canvas(scale)
    angle = _angles()
    for index in range(band.curves):
        wave = np.cos(band.waves * palette.petals * angle + 2 * np.pi * index / band.curves)
        canvas.draw(_closed_curve(palette, band, wave, scale * OVERSIZE), LINE_PT)
    for side in (1, -1):
        canvas.draw(_edge(palette, band, side, scale * OVERSIZE), EDGE_PT)
    return canvas.cover()


def _edge(palette: Palette, band: _Band, side: int, scale: int) -> Points:
    """The band's outer edge (`side` 1) or inner edge (-1)."""
    return _closed_curve(palette, band, np.full(POINTS_PER_CURVE, float(side)), scale)


def _closed_curve(palette: Palette, band: _Band, wave: Field, scale: int) -> Points:
    """Points of a curve between the band's edges in pixels: `wave` is 1 at the outer edge and -1 at the inner one."""
    petals = np.cos(palette.petals * _angles())
    # The swing itself swells and ebbs around the circle: that makes the petals.
    swing = 0.62 * band.swing * (1 + palette.twist * petals)
    distance = REACH_PT * (band.radius + band.bend * petals + swing * wave)
    x = scale * (CENTRE_PT[0] + distance * np.cos(_angles()))
    y = scale * (CENTRE_PT[1] + distance * np.sin(_angles()))
    points = list(zip(x.tolist(), y.tolist(), strict=True))
    return [*points, points[0]]


def _waves(palette: Palette, scale: int) -> Field:
    """The lines left of the rosette, faint behind the number: strength of each pixel."""
    canvas = _Canvas(scale)
    along = np.linspace(0, 1, POINTS_PER_CURVE)
    swell = 0.20 * np.sin(2 * np.pi * 1.4 * along) + 0.10 * np.sin(
        2 * np.pi * (0.3 * palette.petals * along + palette.twist)
    )
    x = along * WIDTH_PT * scale * OVERSIZE
    for top in range(-8 * WAVE_STEP_PT, HEIGHT_PT + 8 * WAVE_STEP_PT, WAVE_STEP_PT):
        y = (top + swell * HEIGHT_PT) * scale * OVERSIZE
        canvas.draw(list(zip(x.tolist(), y.tolist(), strict=True)), WAVE_LINE_PT)
    ramp = 0.14 + 0.28 * np.clip((np.linspace(0, 1, WIDTH_PT * scale) - 0.05) / 0.5, 0, 1) ** 1.2
    return canvas.cover() * np.round(ramp * 32) / 32


class _Canvas:
    """Lines drawn larger than the strip and reduced, which gives clean edges."""

    def __init__(self, scale: int) -> None:
        self._scale = scale * OVERSIZE
        self._large = Image.new("L", _size(self._scale), 0)
        self._pen = ImageDraw.Draw(self._large)

    def draw(self, points: Points, width_pt: float) -> None:
        self._pen.line(points, fill=255, width=max(1, round(width_pt * self._scale)), joint="curve")

    def cover(self) -> Field:
        share = np.asarray(self._large.reduce(OVERSIZE), dtype=np.float64) / 255
        return np.round(share * COVER_STEPS) / COVER_STEPS


def _mix(one: NDArray[Any], other: NDArray[Any], share: Field) -> Field:
    mixed: Field = one + (other - one) * share[..., np.newaxis]
    return mixed


def _angles() -> Field:
    return np.linspace(0, 2 * np.pi, POINTS_PER_CURVE, endpoint=False)


def _size(scale: int) -> tuple[int, int]:
    return WIDTH_PT * scale, HEIGHT_PT * scale
