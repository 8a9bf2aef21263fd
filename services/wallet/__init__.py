"""Wallet: a signed pass for a membership, kept true on the phone that holds it. See README.md for what is promised."""
