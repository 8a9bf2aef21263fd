"""Mint: a receipt becomes a numbered membership, once. See README.md for what is promised."""
