"""The draw: all entrants have the same chance, and a stranger can check it. Runs in the mint process."""
