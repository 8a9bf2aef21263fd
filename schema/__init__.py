"""The one Postgres schema that the services share."""
