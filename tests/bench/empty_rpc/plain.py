"""`python -m tests.bench.empty_rpc.plain`: what the ceiling itself is measured against.

The same empty RPC as a `grpc.aio` tutorial would serve it: on uvloop, naming the HTTP status
in initial metadata, call by call.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

import grpc
import uvloop

from tests.bench.empty_rpc.answer import minted
from vyris.mint.v1 import mint_pb2

CREATED = (("x-http-status", "201"),)


async def mint(request: mint_pb2.MintRequest, context: grpc.aio.ServicerContext[Any, Any]) -> mint_pb2.MintResponse:
    """Answer as a mint does, and do nothing."""
    await context.send_initial_metadata(CREATED)
    return minted(request.tier, request.year)


async def serve(port: int) -> None:
    """Serve until the process ends."""
    server = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(
        mint,
        request_deserializer=mint_pb2.MintRequest.FromString,
        response_serializer=mint_pb2.MintResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler("vyris.mint.v1.MintService", {"Mint": handler})]
    )
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(int(os.environ["MINT_PORT"])))
