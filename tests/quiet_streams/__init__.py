"""Streams without messages, for minutes: too long for `make test`."""
