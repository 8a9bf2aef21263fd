"""Verifiers of receipts, one for each kind. The receipt's form selects its verifier."""
