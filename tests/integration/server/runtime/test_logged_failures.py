"""Log lines about failures."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import structlog
from services.server.runtime import logs
logs.configure("info", "test")
def work(token):
    raise RuntimeError("it broke")
try:
    work("a-secret-of-the-" + "caller")
except RuntimeError:
    structlog.get_logger("x").exception("failed")
"""


def test_a_logged_failure_says_where_and_not_what_the_variables_held() -> None:
    output = subprocess.run([sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True).stdout
    assert '"exc_value": "it broke"' in output
    assert '"name": "work"' in output
    assert "a-secret-of-the-caller" not in output


# Sends HTTP/2 itself, because gRPC's own client refuses to send such a header.
HEADER_THAT_IS_NO_TEXT = """
import asyncio, grpc, sys, h2.config, h2.connection
from services.server.grpc_server.choice import servers
from services.server.runtime import logs
logs.configure("info", "test")

async def answer(request, context):
    assert dict(context.invocation_metadata())["authorization"] == "token-of-the-caller-\\xff"
    return b""

async def main():
    with servers(sys.argv[1]) as make_server:
        server = make_server(options=[], calls_limit=10)
        handler = grpc.unary_unary_rpc_method_handler(answer, bytes, bytes)
        server.add_registered_method_handlers("a.B", {"C": handler})
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        http = h2.connection.H2Connection(h2.config.H2Configuration(validate_outbound_headers=False))
        http.initiate_connection()
        http.send_headers(1, [
            (b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/a.B/C"), (b":authority", b"x"),
            (b"te", b"trailers"), (b"content-type", b"application/grpc"),
            (b"authorization", b"token-of-the-caller-\\xff"),
        ])
        http.send_data(1, bytes(5), end_stream=True)
        writer.write(http.data_to_send())
        headers = {}
        while b"grpc-status" not in headers:
            for event in http.receive_data(await asyncio.wait_for(reader.read(65536), 10)):
                headers.update(getattr(event, "headers", None) or [])
            writer.write(http.data_to_send())
        print("answered", headers[b"grpc-status"])
        await server.stop(0)

asyncio.run(main())
"""


@pytest.mark.parametrize("grpc_server", ["core", "aio"])
def test_a_header_that_is_no_text_is_not_written_into_the_log(grpc_server: str) -> None:
    command = [sys.executable, "-c", HEADER_THAT_IS_NO_TEXT, grpc_server]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert output == "answered b'0'\n"
