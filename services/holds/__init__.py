"""Holds: numbers of a drop, each kept for one user during the payment. Served by the mint process."""
