"""Draws the images of a pass: `python -m tools.artwork.render`."""
