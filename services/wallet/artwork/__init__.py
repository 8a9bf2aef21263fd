"""The images of a pass and their colours. `tools/artwork` draws them."""

from __future__ import annotations

from importlib import resources
from typing import Final

from services.wallet.artwork.palettes import Palette

SUFFIXES: Final = ("", "@2x", "@3x")


def images_for(palette: Palette) -> dict[str, bytes]:
    """Return every image of a pass in `palette`: file name in the pass to PNG bytes."""
    folder = resources.files(__name__) / "images"
    images = {f"{name}{suffix}.png": f"{name}{suffix}.png" for name in ("icon", "logo") for suffix in SUFFIXES}
    images |= {f"strip{suffix}.png": f"strips/{palette.name}{suffix}.png" for suffix in SUFFIXES}
    return {name: (folder / path).read_bytes() for name, path in images.items()}
