"""Draws a tier's strip: a guilloche rosette, as engraved on banknotes, over a soft glow.

A guilloche is a family of closed curves r(angle) with a phase that advances from one
curve to the next. Points are sampled along every curve and counted per pixel;
where curves cross the count adds up, and the tone curve turns it into light.
Left of the rosette the picture stays calm, because Wallet writes the number there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from services.wallet.artwork.palettes import Colour, Palette

Field = NDArray[np.float64]

WIDTH_PT: Final = 375
HEIGHT_PT: Final = 144  # Apple: 375 x 144 points for a store card.
SUPERSAMPLING: Final = 2
POINTS_PER_CURVE: Final = 24_000
REACH: Final = 0.92  # Of the height; the rosette's outer edge runs past the strip.
CENTRE: Final = (0.79, 0.5)  # Of the width and of the height.


def strip(palette: Palette, scale: int) -> Image.Image:
    """Draw the strip at `scale` pixels a point; the same palette gives the same picture."""
    width, height = WIDTH_PT * scale, HEIGHT_PT * scale
    light = _tone(_rosette(palette, width, height))
    waves = _tone(_waves(palette, width, height)) * _around(width, height)
    canvas = _ground(palette, width, height)
    canvas = _lay(canvas, np.clip(waves, 0, 1) * 0.42, palette.thread)
    canvas = _lay(canvas, np.clip(light, 0, 1) * 0.92, palette.thread)
    canvas = _lay(canvas, np.clip(light - 0.62, 0, 1) * 1.5, palette.highlight)
    return Image.fromarray(np.clip(canvas, 0, 255).astype(np.uint8), mode="RGB")


@dataclass(frozen=True)
class _Band:
    """A ring of lace: one wave drawn `curves` times, each a step of phase further. Lengths in reaches."""

    radius: float
    swing: float
    bend: float
    waves: int
    curves: int
    weight: float


def _rosette(palette: Palette, width: int, height: int) -> Field:
    bands = (
        _Band(0.085, 0.050, 0.012, palette.petals, 9, 1.0),
        _Band(0.21, 0.085, 0.030, palette.petals, 14, 1.0),
        _Band(0.40, 0.120, 0.045, palette.petals * 2, 18, 0.9),
        _Band(0.66, 0.150, 0.060, palette.petals * 2, 22, 0.75),
        _Band(0.97, 0.170, 0.070, palette.petals * 3, 24, 0.5),
    )
    total = np.zeros((height * SUPERSAMPLING, width * SUPERSAMPLING))
    for band in bands:
        for index in range(band.curves):
            x, y = _closed_curve(band, palette, 2 * np.pi * index / band.curves)
            total += band.weight * _count(
                CENTRE[0] * width + x * height, CENTRE[1] * height + y * height, width, height
            )
    return _shrink(total, width, height)


def _closed_curve(band: _Band, palette: Palette, phase: float) -> tuple[Field, Field]:
    """Return points around the centre, in heights of the strip."""
    angle = np.linspace(0, 2 * np.pi, POINTS_PER_CURVE, endpoint=False)
    # The swing itself swells and ebbs around the circle: that makes the petals.
    swell = 1 + palette.twist * np.cos(palette.petals * angle)
    wave = 0.62 * band.swing * swell * np.cos(band.waves * angle + phase)
    distance = REACH * (band.radius + wave + band.bend * np.cos(palette.petals * angle))
    return distance * np.cos(angle), distance * np.sin(angle)


def _waves(palette: Palette, width: int, height: int) -> Field:
    along = np.linspace(0, 1, POINTS_PER_CURVE)
    total = np.zeros((height * SUPERSAMPLING, width * SUPERSAMPLING))
    for index in range(26):
        share = index / 25
        swell = 0.16 * np.sin(2 * np.pi * (1.5 * along + 0.9 * share * palette.twist))
        ripple = 0.05 * np.sin(2 * np.pi * (palette.petals * 0.5 * along - share))
        total += _count(along * width, height * (-0.05 + 1.1 * share + swell + ripple), width, height)
    return _shrink(total, width, height)


def _count(x: Field, y: Field, width: int, height: int) -> Field:
    columns = np.floor(x * SUPERSAMPLING).astype(np.int64)
    rows = np.floor(y * SUPERSAMPLING).astype(np.int64)
    inside = (columns >= 0) & (columns < width * SUPERSAMPLING) & (rows >= 0) & (rows < height * SUPERSAMPLING)
    flat = rows[inside] * (width * SUPERSAMPLING) + columns[inside]
    size = width * height * SUPERSAMPLING**2
    return np.bincount(flat, minlength=size).reshape(height * SUPERSAMPLING, width * SUPERSAMPLING).astype(np.float64)


def _shrink(counts: Field, width: int, height: int) -> Field:
    # The square root tames slow stretches of a curve, where samples lie dense.
    lit = np.sqrt(counts)
    shrunk: Field = lit.reshape(height, SUPERSAMPLING, width, SUPERSAMPLING).mean(axis=(1, 3))
    return shrunk


def _tone(field: Field) -> Field:
    bright = float(np.percentile(field, 99.2)) or 1.0
    toned: Field = (field / bright) ** 0.85
    return toned


def _around(width: int, height: int) -> Field:
    """How strongly the waves show: faint behind the number, not at all inside the rosette."""
    ramp = np.clip((np.linspace(0, 1, width) - 0.05) / 0.5, 0, 1) ** 1.2
    outside = np.clip((_distance(width, height) - 0.42) / 0.5, 0, 1) ** 1.5
    strength: Field = (0.30 + 0.70 * ramp)[np.newaxis, :] * outside
    return strength


def _distance(width: int, height: int) -> Field:
    x = (np.linspace(0, 1, width) - CENTRE[0]) * (width / height)
    y = np.linspace(0, 1, height) - CENTRE[1]
    distance: Field = np.sqrt(x[np.newaxis, :] ** 2 + y[:, np.newaxis] ** 2)
    return distance


def _ground(palette: Palette, width: int, height: int) -> Field:
    glow = np.exp(-(_distance(width, height) ** 2) / 0.62)[..., np.newaxis]
    # The edge that meets the card is exactly the card's colour, so no seam shows.
    edge = np.clip(np.minimum(np.linspace(0, 1, height), np.linspace(1, 0, height)) / 0.12, 0, 1)
    glow = glow * edge[:, np.newaxis, np.newaxis] ** 0.5
    ground: Field = np.array(palette.background) * (1 - glow) + np.array(palette.glow) * glow
    return ground


def _lay(canvas: Field, strength: Field, colour: Colour) -> Field:
    share = np.clip(strength, 0, 1)[..., np.newaxis]
    laid: Field = canvas * (1 - share) + np.array(colour) * share
    return laid
