"""Buyers at the gateway: many at once, over JSON or native gRPC, who repeat what is retryable."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import httpx

from vyris.error_wire import from_rpc_error
from vyris.mint.v1 import mint_pb2, mint_pb2_grpc


@dataclass
class Answer:
    """What a buyer was told: `error` is empty for a success."""

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
async def json_sender(base_url: str, connections: int = 128) -> AsyncIterator[Send]:
    """Sends mint requests as JSON through the gateway."""
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
    async with httpx.AsyncClient(base_url=base_url, limits=limits, timeout=30) as client:

        async def send(request: dict[str, Any]) -> Answer:
            response = await client.post("/mint", json=request)
            return Answer(response.status_code, response.json())

        yield send


@asynccontextmanager
async def grpc_sender(target: str) -> AsyncIterator[Send]:
    """Sends mint requests over native gRPC; errors are told as the JSON caller would see them."""
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
                answer = await _tried(send, request)
                if answer is not None:
                    answers[number] = answer
                elif time.monotonic() > until_s:
                    raise TimeoutError(f"request {number} was not answered for good within {patience_s} s")
                else:
                    await asyncio.sleep(0.05)

    await asyncio.gather(*(buyer() for _ in range(at_once)))
    return [answers[number] for number in sorted(answers)]


async def _tried(send: Send, request: dict[str, Any]) -> Answer | None:
    try:
        answer = await send(request)
    except httpx.TransportError:
        return None
    return None if answer.error == "RETRYABLE" else answer
