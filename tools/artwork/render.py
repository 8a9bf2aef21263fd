"""Renders every image of a pass into `services/wallet/artwork/images`: `python -m tools.artwork.render`.

Run by hand when the design changes; the PNGs are checked in. Needs Pillow and numpy, and two packages that nothing else
does: `pip install pngquant-cli pyoxipng`. It takes some minutes.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import oxipng
from PIL import Image

from services.wallet import artwork
from services.wallet.artwork.palettes import PALETTES, Colour
from tools.artwork.render_marks import icon, logo
from tools.artwork.render_strip import strip

IMAGES: Final = Path(artwork.__file__).parent / "images"
PNGQUANT: Final = Path(sys.executable).with_name("pngquant")
SCALES: Final = (1, 2, 3)
# With 24 the glow shows steps. Fewer would save little: the lace is what weighs.
STRIP_COLOURS: Final = 32
ZOPFLI_ROUNDS: Final = 15


def main() -> None:
    """Write all images."""
    for scale in SCALES:
        suffix = "" if scale == 1 else f"@{scale}x"
        _save(icon(scale), f"icon{suffix}.png")
        _save(logo(scale), f"logo{suffix}.png")
        for palette in PALETTES:
            picture = _with_exact(_quantised(strip(palette, scale)), palette.background)
            _save(picture, f"strips/{palette.name}{suffix}.png")


def _quantised(picture: Image.Image) -> Image.Image:
    with tempfile.TemporaryDirectory() as folder:
        drawn, small = Path(folder, "drawn.png"), Path(folder, "small.png")
        picture.save(drawn)
        options = ["--nofs", "--speed", "1", "--strip", "--output", str(small)]
        subprocess.run([str(PNGQUANT), *options, str(STRIP_COLOURS), str(drawn)], check=True)
        with Image.open(small) as read:
            return read.copy()


def _with_exact(picture: Image.Image, colour: Colour) -> Image.Image:
    """The same picture where its colour nearest to this one is this one: the edge meets the card, and no seam shows."""
    values = picture.getpalette() or []
    entries = [tuple(values[at : at + 3]) for at in range(0, len(values), 3)]
    nearest = min(entries, key=lambda entry: sum((a - b) ** 2 for a, b in zip(entry, colour, strict=True)))
    picture.putpalette([value for entry in entries for value in (colour if entry == nearest else entry)])
    return picture


def _save(picture: Image.Image, name: str) -> None:
    path = IMAGES / name
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, optimize=True)
    oxipng.optimize(path, level=6, deflate=oxipng.Deflaters.zopfli(ZOPFLI_ROUNDS))


if __name__ == "__main__":
    main()
