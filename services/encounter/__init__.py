"""Encounter: two members met, and it is proven once. See README.md for what is promised."""
