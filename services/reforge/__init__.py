"""The reforge service."""
