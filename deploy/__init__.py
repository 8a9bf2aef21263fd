"""How the suite is run away from a developer's machine."""
