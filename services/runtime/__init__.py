"""What every service process is made of: settings, logs, metrics, the call boundary, health, start and stop."""
