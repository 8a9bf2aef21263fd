"""Streams on which nothing happens, for minutes: too long for `make test`."""
