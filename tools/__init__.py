"""Programs that are run by hand, and that no process imports."""
