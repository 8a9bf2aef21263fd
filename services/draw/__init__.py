"""The draw: everybody who enters has the same chance, and a stranger can check it. Served by the mint process."""
