"""Natural micro-batching: while one batch is in flight, the next one gathers."""
