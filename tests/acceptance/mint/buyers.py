"""Buyers at the gateway: many at once, over JSON or native gRPC, who retry retryable answers."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc

from vyris.error_wire import from_rpc_error
from vyris.mint.v1 import mint_pb2, mint_pb2_grpc


@dataclass
class Answer:
    """The answer to a buyer: `error` is empty for a success."""

    status: int
    body: dict[str, Any]
    at_s: float = field(default_factory=time.monotonic)

    @property
    def error(self) -> str:
        return str(self.body.get("error", ""))

    @property
    def membership(self) -> dict[str, Any]:
        membership: dict[str, Any] = self.body["membership"]
        return membership


Send = Callable[[dict[str, Any]], Awaitable[Answer]]


@asynccontextmanager
async def json_sender(base_url: str) -> AsyncIterator[Send]:
    """Sends mint requests as JSON through the gateway, each on a connection that nobody else uses meanwhile.

    A few lines of HTTP/1.1 over asyncio: general clients cost several times what the suite does for a mint, and here
    both share two cores.
    """
    host, port = base_url.removeprefix("http://").split(":")
    idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def send(request: dict[str, Any]) -> Answer:
        body = json.dumps(request, ensure_ascii=False).encode()
        head = f"POST /mint HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
        reader, writer = idle.pop() if idle else await asyncio.open_connection(host, int(port))
        try:
            writer.write(head.encode() + b"\r\n\r\n" + body)
            answer_head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = int(re.findall(r"content-length: (\d+)", answer_head)[0])
            answer = Answer(int(answer_head.split()[1]), json.loads(await reader.readexactly(length)))
        except BaseException:
            writer.close()
            raise
        if "connection: close" in answer_head:
            writer.close()
        else:
            idle.append((reader, writer))
        return answer

    try:
        yield send
    finally:
        for _, writer in idle:
            writer.close()


@asynccontextmanager
async def grpc_sender(target: str) -> AsyncIterator[Send]:
    """Sends mint requests over native gRPC; errors look as a JSON caller would get them."""
    async with grpc.aio.insecure_channel(target) as channel:
        stub = mint_pb2_grpc.MintServiceStub(channel)

        async def send(request: dict[str, Any]) -> Answer:
            try:
                minted = await stub.Mint(mint_pb2.MintRequest(**request), timeout=30)
            except grpc.aio.AioRpcError as failure:
                trailers = tuple((key, value) for key, value in failure.trailing_metadata() or ())
                error = from_rpc_error(failure.code(), failure.details() or "", trailers)
                if error is None:
                    if failure.code() not in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}:
                        raise
                    return Answer(503, {"error": "RETRYABLE", "retryable": True})
                return Answer(error.http_status, {"error": error.reason, "retryable": error.retryable})
            membership = {name.name: value for name, value in minted.membership.ListFields()}
            return Answer(201, {"membership": membership, "replayed": minted.replayed})

        yield send


async def buy_all(send: Send, requests: Iterable[dict[str, Any]], at_once: int, patience_s: float = 60) -> list[Answer]:
    """Every request's final answer, in order; RETRYABLE answers and broken connections are repeated."""
    waiting = list(enumerate(requests))[::-1]
    answers: dict[int, Answer] = {}
    until_s = time.monotonic() + patience_s

    async def buyer() -> None:
        while waiting:
            number, request = waiting.pop()
            while number not in answers:
                answer = await _try(send, request)
                if answer is not None:
                    answers[number] = answer
                elif time.monotonic() > until_s:
                    raise TimeoutError(f"request {number} was not answered for good within {patience_s} s")
                else:
                    await asyncio.sleep(0.05)

    await asyncio.gather(*(buyer() for _ in range(at_once)))
    return [answers[number] for number in sorted(answers)]


async def _try(send: Send, request: dict[str, Any]) -> Answer | None:
    try:
        answer = await send(request)
    except (OSError, asyncio.IncompleteReadError):
        return None
    return None if answer.error == "RETRYABLE" else answer
