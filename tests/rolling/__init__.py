"""Every process is replaced under load, as a release does it, and no caller notices."""
