"""Sends the same calls over JSON and over native gRPC through the gateway; both give the same kind of answer."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import grpc
from cryptography.hazmat.primitives.asymmetric import ec
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message_factory import GetMessageClass

from tests.rolling.json_door import JsonDoor
from vyris.device_proof import build_proof, grpc_target, http_target
from vyris.draw.v1 import draw_pb2
from vyris.error_wire import from_rpc_error
from vyris.errors import Retryable
from vyris.holds.v1 import holds_pb2
from vyris.http_rules import VARIABLE, bindings
from vyris.mint.v1 import mint_pb2

METHODS: dict[str, MethodDescriptor] = {
    method.name: method
    for file, service in ((holds_pb2, "HoldService"), (mint_pb2, "MintService"), (draw_pb2, "DrawService"))
    for method in file.DESCRIPTOR.services_by_name[service].methods
}


@dataclass
class Answer:
    """`body` is the JSON of a success, or the three keys of an error."""

    status: int
    body: dict[str, Any]
    retry_after: str = ""

    @property
    def error(self) -> str:
        return str(self.body.get("error", ""))


# rpc, key that signs a device proof, bearer token, fields
Ask = Callable[..., Awaitable[Answer]]


@asynccontextmanager
async def json_door(base_url: str) -> AsyncIterator[Ask]:
    # The default of PUBLIC_BASE_URL, which a proof names.
    port = urlsplit(base_url).port
    assert port is not None
    named_url = f"http://localhost:{port}"
    at_once = asyncio.Semaphore(64)
    async with JsonDoor(port, limit_s=30) as door:

        async def ask(
            rpc: str, key: ec.EllipticCurvePrivateKey | None = None, token: str = "", **fields: Any
        ) -> Answer:
            method = METHODS[rpc]
            (rule,) = bindings(method.GetOptions())
            path = VARIABLE.sub(lambda name: str(fields[name[1]]), rule.template)
            body = {name: value for name, value in fields.items() if name not in VARIABLE.findall(rule.template)}
            headers = {"authorization": f"Bearer {token}"} if token else {}
            if key is not None:
                target = http_target(named_url, method, request_of(method, fields))
                assert target is not None
                headers["dpop"] = build_proof(key, request_of(method, fields), target)
            assert rule.http_method in {"GET", "POST"}
            async with at_once:
                answer = await door.send(path, body if rule.http_method == "POST" else None, headers)
            return Answer(answer.status, answer.json(), answer.headers.get("retry-after", ""))

        yield ask


@asynccontextmanager
async def grpc_door(target: str) -> AsyncIterator[Ask]:
    async with grpc.aio.insecure_channel(target) as channel:

        async def ask(
            rpc: str, key: ec.EllipticCurvePrivateKey | None = None, token: str = "", **fields: Any
        ) -> Answer:
            method = METHODS[rpc]
            request = request_of(method, fields)
            where = grpc_target(method)
            call = channel.unary_unary(
                where.htu,
                request_serializer=lambda message: message.SerializeToString(),
                response_deserializer=GetMessageClass(method.output_type).FromString,
            )
            metadata = [("authorization", f"Bearer {token}")] if token else []
            if key is not None:
                metadata.append(("dpop", build_proof(key, request, where)))
            try:
                answer = await call(request, timeout=30, metadata=metadata)
            except grpc.aio.AioRpcError as failure:
                trailers = tuple((name, value) for name, value in failure.trailing_metadata() or ())
                error = from_rpc_error(failure.code(), failure.details() or "", trailers)
                if error is None and failure.code() is grpc.StatusCode.UNAVAILABLE:
                    error = Retryable()  # the gateway's own error, which has no details
                if error is None:
                    raise
                body = {"error": error.reason, "message": error.message, "retryable": error.retryable}
                return Answer(error.http_status, body, str(error.retry_after_s or ""))
            status = 201 if re.fullmatch("TakeHold|Mint|Enter", rpc) else 200
            body = MessageToDict(answer, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
            return Answer(status, body)

        yield ask


def request_of(method: MethodDescriptor, fields: dict[str, Any]) -> Any:
    return ParseDict(fields, GetMessageClass(method.input_type)())
