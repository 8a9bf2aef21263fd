"""Callers of the mint, over JSON and over gRPC, through the gateway. Every call becomes an Operation."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Final, Self

import grpc
import httpx
from google.protobuf.json_format import MessageToDict

from services.mint.drops import Drop
from tests.chaos.cluster import Cluster
from tests.chaos.history import FULFILLED, HELD, UNKNOWN, Operation
from tests.error_body import KEYS
from vyris.client import Device
from vyris.device_proof import METADATA_KEY, build_proof, grpc_target
from vyris.error_wire import from_rpc_error
from vyris.errors import Retryable
from vyris.holds.v1 import holds_pb2, holds_pb2_grpc
from vyris.mint.v1 import mint_pb2, mint_pb2_grpc

CALL_LIMIT_S: Final = 4.0
MALFORMED: Final = "MALFORMED"
_TARGET: Final = grpc_target(mint_pb2.DESCRIPTOR.services_by_name["MintService"].methods_by_name["Mint"])
RETRYABLE: Final = {"RETRYABLE", "RATE_LIMITED"}
# Statuses of gRPC or Envoy themselves, for calls that did not arrive or broke.
OWN_CODES: Final = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}


class Clients:
    """Mints and holds over JSON and over gRPC."""

    def __init__(self, cluster: Cluster, drop: Drop) -> None:
        self._cluster = cluster
        self._drop = drop
        self._exits = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Open the connections."""
        proxies = self._cluster.proxies
        self.http = await self._exits.enter_async_context(
            httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{proxies['client-gateway'].port}",
                timeout=CALL_LIMIT_S,
                limits=httpx.Limits(max_connections=64),
                trust_env=False,
            )
        )
        self.channel = await self._exits.enter_async_context(
            grpc.aio.insecure_channel(
                f"127.0.0.1:{proxies['client-gateway-grpc'].port}",
                options=[("grpc.enable_http_proxy", 0), ("grpc.max_reconnect_backoff_ms", 300)],
            )
        )
        self._mint = mint_pb2_grpc.MintServiceStub(self.channel)
        self._holds = holds_pb2_grpc.HoldServiceStub(self.channel)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close them."""
        await self._exits.aclose()

    async def mint(self, via: str, receipt: str, user: str, device: Device | None = None, email: str = "") -> Operation:
        """Send a receipt once, `via` http or grpc; `device` is enrolled and signs."""
        began_s = time.monotonic()
        request = mint_pb2.MintRequest(
            receipt_data=receipt,
            user_id=user,
            tier=self._drop.tier,
            year=self._drop.year,
            email=email,
            device=mint_pb2.Device(device_id=device.device_id, public_key=device.public_key_pem) if device else None,
        )
        # A service takes a proof for the native call over JSON too.
        proof = {METADATA_KEY: build_proof(device.key, request, _TARGET)} if device else {}
        answer = await (self._mint_http if via == "http" else self._mint_grpc)(request, proof)
        return Operation(
            kind="mint", subject=receipt, user=user, began_s=began_s, ended_s=time.monotonic(), via=via, **answer
        )

    async def hold(self, via: str, user: str) -> Operation:
        """Ask for a hold once, `via` http or grpc."""
        began_s = time.monotonic()
        answer = await (self._hold_http if via == "http" else self._hold_grpc)(user)
        return Operation(
            kind="hold", subject=user, user=user, began_s=began_s, ended_s=time.monotonic(), via=via, **answer
        )

    async def _hold_http(self, user: str) -> dict[str, Any]:
        try:
            path = f"/drops/{self._drop.tier}/{self._drop.year}/holds"
            answer = await self.http.post(path, json={"user_id": user})
            if answer.status_code != httpx.codes.CREATED:
                return _read_json(answer)
            body = answer.json()
            return {"outcome": HELD, "status": "201", "hold_id": body["hold"]["id"], "replayed": body["replayed"]}
        except httpx.HTTPError as error:
            return {"outcome": UNKNOWN, "status": type(error).__name__}

    async def _hold_grpc(self, user: str) -> dict[str, Any]:
        request = holds_pb2.TakeHoldRequest(tier=self._drop.tier, year=self._drop.year, user_id=user)
        try:
            answer = await self._holds.TakeHold(request, timeout=CALL_LIMIT_S)
        except grpc.aio.AioRpcError as error:
            return _read_status(error)
        return {"outcome": HELD, "status": "OK", "hold_id": answer.hold.id, "replayed": answer.replayed}

    async def _mint_http(self, request: mint_pb2.MintRequest, proof: Mapping[str, str]) -> dict[str, Any]:
        body = MessageToDict(request, preserving_proto_field_name=True)
        try:
            answer = await self.http.post("/mint", json=body, headers=dict(proof))
            return _read_json(answer)
        except httpx.HTTPError as error:
            return {"outcome": UNKNOWN, "status": type(error).__name__}

    async def _mint_grpc(self, request: mint_pb2.MintRequest, proof: Mapping[str, str]) -> dict[str, Any]:
        try:
            answer = await self._mint.Mint(request, timeout=CALL_LIMIT_S, metadata=tuple(proof.items()))
        except grpc.aio.AioRpcError as error:
            return _read_status(error)
        return {
            "outcome": FULFILLED,
            "status": "OK",
            "membership_id": answer.membership.id,
            "sequence_num": answer.membership.sequence_num,
            "pass_serial": answer.membership.pass_serial,
            "replayed": answer.replayed,
        }


def _read_json(answer: httpx.Response) -> dict[str, Any]:
    status = str(answer.status_code)
    try:
        body = answer.json()
    except ValueError:
        return {"outcome": MALFORMED, "status": status}
    if answer.status_code == httpx.codes.CREATED:
        membership = body["membership"]
        return {
            "outcome": FULFILLED if body["status"] == FULFILLED else MALFORMED,
            "status": status,
            "membership_id": membership["id"],
            "sequence_num": membership["sequence_num"],
            "pass_serial": membership["pass_serial"],
            "replayed": body["replayed"],
        }
    if set(body) != KEYS:
        return {"outcome": MALFORMED, "status": status}
    return {"outcome": UNKNOWN if body["error"] in RETRYABLE else body["error"], "status": status}


def _read_status(error: grpc.aio.AioRpcError) -> dict[str, Any]:
    refusal = from_rpc_error(error.code(), error.details() or "", tuple(error.trailing_metadata() or ()))
    if refusal is None:
        return {"outcome": UNKNOWN if error.code() in OWN_CODES else MALFORMED, "status": error.code().name}
    unknown = isinstance(refusal, Retryable) or refusal.reason in RETRYABLE
    return {"outcome": UNKNOWN if unknown else refusal.reason, "status": error.code().name}
