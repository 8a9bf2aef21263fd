"""Readiness checks of processes."""

from __future__ import annotations

import http.client
import socket
import subprocess
from pathlib import Path

TIME_LIMIT_S = 1.0


def answers_postgres(pg_isready: Path, socket_folder: Path) -> bool:
    """Whether Postgres accepts connections on its socket."""
    finished = subprocess.run(
        [str(pg_isready), "--quiet", "--host", str(socket_folder), "--timeout", "1"], check=False, capture_output=True
    )
    return finished.returncode == 0


def answers_valkey(socket_path: Path) -> bool:
    """Whether Valkey answers a PING on its socket."""
    return _says(socket.AF_UNIX, str(socket_path), b"PING\r\n", b"+PONG")


def answers_smtp(port: int) -> bool:
    """Whether an SMTP server greets on a loopback port."""
    return _says(socket.AF_INET, ("127.0.0.1", port), b"", b"220")


def answers_http(port: int, path: str) -> bool:
    """Whether a loopback HTTP server answers `GET path` with 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIME_LIMIT_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def serves_grpc(port: int, service: str) -> bool:
    """Whether a loopback gRPC server says SERVING for `service` (grpc.health.v1)."""
    if not _listens(port):  # A channel costs milliseconds of CPU, just when the services need it for their start.
        return False
    import grpc  # noqa: PLC0415 - costs the command line a tenth of a second, and only starting needs it
    from grpc_health.v1 import health_pb2, health_pb2_grpc  # noqa: PLC0415

    with grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(  # type: ignore[no-untyped-call]
                health_pb2.HealthCheckRequest(service=service), timeout=TIME_LIMIT_S
            )
        except grpc.RpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), TIME_LIMIT_S).close()
    except OSError:
        return False
    return True


def _says(family: int, address: str | tuple[str, int], sent: bytes, expected: bytes) -> bool:
    with socket.socket(family, socket.SOCK_STREAM) as connection:
        connection.settimeout(TIME_LIMIT_S)
        try:
            connection.connect(address)
            connection.sendall(sent)
            return connection.recv(64).startswith(expected)
        except OSError:
            return False
