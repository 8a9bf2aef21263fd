"""The common parts of all service processes: settings, logs, metrics, the call boundary, health, start and stop."""
