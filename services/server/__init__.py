"""What each process is built from: settings, the gRPC server, its loops, logs, metrics, traces, failpoints."""
