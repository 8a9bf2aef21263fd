"""Postgres and Redis: connections, named statements, locks, outboxes, batches, the audit log."""
