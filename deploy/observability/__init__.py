"""Alerts and a dashboard for the processes' metrics."""
