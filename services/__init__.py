"""The four gRPC services and the server code they share."""
