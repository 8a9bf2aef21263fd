"""Holds: a drop's numbers, each kept for one user while he pays. Served by the mint process."""
