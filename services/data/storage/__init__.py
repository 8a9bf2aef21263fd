"""Postgres, as every service uses it: one bounded pool, time limits everywhere, SQL in files."""
