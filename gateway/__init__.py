"""The Envoy gateway: its configuration, generated from the protos and the settings."""
