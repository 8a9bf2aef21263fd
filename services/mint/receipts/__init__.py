"""Verifiers of receipts, one for each kind; the receipt's form decides which one judges it."""
