"""Wallet: a signed pass for a membership, kept true on the phone that holds it.

What this service promises: a pass opens only for the membership's owner, is
accepted by Apple Wallet, and says within seconds what the membership has become.
It writes `passes`, `pass_registrations`, `pass_pushes` and `wallet_cursor`.
"""
