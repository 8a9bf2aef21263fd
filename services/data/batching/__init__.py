"""Natural micro-batching: while one batch is in flight, requests gather for the next."""
