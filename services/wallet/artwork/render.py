"""Renders every image of a pass into `images/`: `python -m services.wallet.artwork.render`.

Run by hand when the design changes; the PNGs are checked in. Needs Pillow and
numpy, which the services themselves do not.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from PIL import Image

from services.wallet.artwork.palettes import PALETTES
from services.wallet.artwork.render_marks import icon, logo
from services.wallet.artwork.render_strip import strip

IMAGES: Final = Path(__file__).parent / "images"
SCALES: Final = (1, 2, 3)
# 48 colours chosen by k-means are closer to the drawing than 72 of a median cut, in two thirds of the bytes.
STRIP_COLOURS: Final = 48
K_MEANS_ROUNDS: Final = 4


def main() -> None:
    """Write all images."""
    for scale in SCALES:
        suffix = "" if scale == 1 else f"@{scale}x"
        _save(icon(scale), f"icon{suffix}.png")
        _save(logo(scale), f"logo{suffix}.png")
        for palette in PALETTES:
            picture = strip(palette, scale).quantize(STRIP_COLOURS, kmeans=K_MEANS_ROUNDS, dither=Image.Dither.NONE)
            _save(picture, f"strips/{palette.name}{suffix}.png")


def _save(picture: Image.Image, name: str) -> None:
    path = IMAGES / name
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, optimize=True)


if __name__ == "__main__":
    main()
