"""What stands beside the suite in production: load balancers in front of it, a pooler before Postgres."""
