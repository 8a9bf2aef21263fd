"""Mint processes that are broken on purpose: the checker is trusted because it catches each of them."""
