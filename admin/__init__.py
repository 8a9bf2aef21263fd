"""Operators' work: drops, draws, refunds, memberships and people. Each change is audited."""
