"""Reforge: a membership moves to a new device, and to nobody else. See README.md for what is promised."""
