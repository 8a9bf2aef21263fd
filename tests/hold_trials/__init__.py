"""Crowds that take holds: trials at full size (`python -m tests.hold_trials`), and slices of them in the suite."""
