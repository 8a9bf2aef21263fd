"""The colours of a tier's pass: one palette for each strip that is drawn."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

Colour = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Palette:
    """Colours in sRGB, 0 to 255. `petals` and `twist` shape the rosette (`tools/artwork/render_strip.py`)."""

    name: str
    background: Colour
    glow: Colour
    thread: Colour
    highlight: Colour
    foreground: Colour
    label: Colour
    petals: int
    twist: float


GENESIS: Final = Palette(
    name="genesis",
    background=(11, 13, 24),
    glow=(64, 40, 24),
    thread=(226, 162, 84),
    highlight=(255, 240, 208),
    foreground=(250, 244, 232),
    label=(222, 176, 112),
    petals=9,
    twist=0.62,
)

# A tier without its own design gets one of these, always the same for the same name.
FALLBACKS: Final = (
    Palette(
        "tide", (7, 20, 38), (12, 54, 92), (86, 172, 232), (224, 246, 255), (240, 248, 255), (128, 190, 232), 7, 0.5
    ),
    Palette(
        "ember", (30, 10, 16), (96, 26, 22), (238, 112, 82), (255, 228, 206), (255, 244, 238), (240, 150, 122), 11, 0.7
    ),
    Palette(
        "orchid",
        (24, 11, 36),
        (74, 28, 98),
        (196, 124, 236),
        (250, 230, 255),
        (250, 242, 255),
        (204, 156, 236),
        8,
        0.56,
    ),
    Palette(
        "moss", (8, 24, 20), (16, 70, 52), (96, 206, 150), (228, 255, 238), (240, 252, 246), (132, 208, 168), 6, 0.46
    ),
    Palette(
        "slate",
        (17, 20, 25),
        (52, 60, 72),
        (170, 184, 202),
        (250, 252, 255),
        (246, 248, 252),
        (170, 182, 198),
        12,
        0.66,
    ),
    Palette(
        "dune", (28, 20, 14), (90, 64, 40), (222, 186, 140), (255, 246, 228), (255, 248, 238), (214, 184, 146), 10, 0.58
    ),
)

PALETTES: Final = (GENESIS, *FALLBACKS)
_DESIGNED: Final = {GENESIS.name: GENESIS}


def palette_for(tier: str) -> Palette:
    """Return the palette of `tier`, the same one for ever."""
    designed = _DESIGNED.get(tier)
    if designed is not None:
        return designed
    return FALLBACKS[hashlib.sha256(tier.encode()).digest()[0] % len(FALLBACKS)]
