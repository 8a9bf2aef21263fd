"""The encounter service."""
