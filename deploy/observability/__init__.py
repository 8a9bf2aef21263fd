"""Alerts and a dashboard for what the processes tell Prometheus."""
