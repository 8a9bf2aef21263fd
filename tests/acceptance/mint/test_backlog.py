"""A service that fell behind answers every call that it accepted."""

from __future__ import annotations

import asyncio

import grpc

from stack.local import Stack
from vyris.mint.v1 import mint_pb2, mint_pb2_grpc

# Above the thousand from which gRPC by itself begins to refuse calls at random.
CALLS = 2_500


async def test_calls_that_wait_for_a_busy_process_are_not_refused(stack: Stack) -> None:
    async with grpc.aio.insecure_channel(stack.target("mint")) as channel:
        await channel.channel_ready()
        stub = mint_pb2_grpc.MintServiceStub(channel)
        stack.pause("mint")
        try:
            calls = [
                asyncio.ensure_future(stub.GetDrop(mint_pb2.GetDropRequest(tier="genesis", year="2025"), timeout=30))
                for _ in range(CALLS)
            ]
            await asyncio.sleep(0.5)
        finally:
            stack.resume("mint")
        answers = await asyncio.gather(*calls, return_exceptions=True)
    codes = {answer.code() if isinstance(answer, grpc.aio.AioRpcError) else grpc.StatusCode.OK for answer in answers}
    assert codes <= {grpc.StatusCode.OK, grpc.StatusCode.NOT_FOUND}
    assert len(codes) == 1
