"""Campaigns that try to break the rules of the contract: `python -m tests.chaos`."""
