"""The local stack: databases, services, gateway and mail sink on one machine, without Docker."""
