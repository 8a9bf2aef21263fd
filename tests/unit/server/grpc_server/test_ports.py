"""Where a server listens."""

from __future__ import annotations

import socket
from pathlib import Path

import grpc
import pytest

from services.server.grpc_server.choice import MakeServer
from tests.stand_ins.authority import Authority
from tests.unit.server.grpc_server.served import SERVICE, echo, unary


async def test_a_taken_port_is_an_error(make_server: MakeServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = make_server(options=[("grpc.so_reuseport", 0)], calls_limit=1)
        with pytest.raises(RuntimeError):
            server.add_insecure_port(f"127.0.0.1:{taken.getsockname()[1]}")


async def test_another_machines_address_is_an_error(make_server: MakeServer) -> None:
    server = make_server(options=[], calls_limit=1)
    with pytest.raises(RuntimeError):
        server.add_insecure_port("192.0.2.1:0")


async def test_one_server_listens_on_two_ports(make_server: MakeServer) -> None:
    server = make_server(options=[], calls_limit=1)
    server.add_registered_method_handlers(SERVICE, {"Echo": unary(echo)})
    ports = [server.add_insecure_port("127.0.0.1:0") for _ in range(2)]
    await server.start()
    for port in ports:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            assert await channel.unary_unary(f"/{SERVICE}/Echo")(b"x", timeout=10) == b"x"
    await server.stop(0)


async def test_a_port_with_tls_serves_who_trusts_its_authority_and_nobody_in_plain_text(
    tmp_path: Path, make_server: MakeServer
) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.issue("server", "localhost")
    server = make_server(options=[], calls_limit=1)
    server.add_registered_method_handlers(SERVICE, {"Echo": unary(echo)})
    credentials = grpc.ssl_server_credentials([(key.read_bytes(), certificate.read_bytes())])
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    trusting = grpc.ssl_channel_credentials(authority.ca_file.read_bytes())
    async with grpc.aio.secure_channel(f"127.0.0.1:{port}", trusting) as channel:
        assert await channel.unary_unary(f"/{SERVICE}/Echo")(b"x", timeout=10) == b"x"
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        with pytest.raises(grpc.aio.AioRpcError):
            await channel.unary_unary(f"/{SERVICE}/Echo")(b"x", timeout=2)
    await server.stop(0)
