"""The `vyris` command line."""
