"""Wallet issues a signed pass for a membership and keeps it up to date on phones. README.md lists the promises."""
