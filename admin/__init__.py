"""Operators' work: drops, refunds, memberships and people. Each change is audited (`services/audit_log`)."""
