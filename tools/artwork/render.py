"""Renders every image of a pass into `services/wallet/artwork/images`: `python -m tools.artwork.render`.

Run by hand when the design changes; the PNGs are checked in. Needs Pillow and numpy, and a package that nothing else
does: `pip install pyoxipng`. It takes a minute.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import oxipng
from PIL import Image

from services.wallet import artwork
from services.wallet.artwork.palettes import PALETTES
from tools.artwork.render_marks import icon, logo
from tools.artwork.render_strip import strip

IMAGES: Final = Path(artwork.__file__).parent / "images"
SCALES: Final = (1, 2, 3)


def main() -> None:
    """Write all images."""
    for scale in SCALES:
        suffix = "" if scale == 1 else f"@{scale}x"
        _save(icon(scale), f"icon{suffix}.png")
        _save(logo(scale), f"logo{suffix}.png")
        for palette in PALETTES:
            _save(strip(palette, scale), f"strips/{palette.name}{suffix}.png")


def _save(picture: Image.Image, name: str) -> None:
    path = IMAGES / name
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)
    # It also turns a picture of at most 256 colours into one with a palette, colour for colour. Zopfli would save one
    # percent and take ten minutes.
    oxipng.optimize(path, level=6)


if __name__ == "__main__":
    main()
