"""The four gRPC services and the server code they share."""

import os

# gRPC reads this when it is first imported. Without the event engine's own threads an empty RPC costs a server process
# 8 % less CPU (with grpc.aio it was 11 to 20 %; measured in turns, grpcio 1.85). A value in the environment has
# priority.
os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_listener,-event_engine_client")
