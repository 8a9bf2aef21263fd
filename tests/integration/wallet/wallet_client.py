"""Calls the wallet service over gRPC and returns what a caller through the gateway would get."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import grpc

from services.wallet.opened_pass import OpenedPass, open_pass
from vyris.error_wire import from_rpc_error
from vyris.errors import VyrisError
from vyris.wallet.v1 import wallet_pb2, wallet_pb2_grpc

PASS_TYPE = "pass.app.vyris.membership"


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes = b""
    error: VyrisError | None = None

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def opened(self) -> OpenedPass:
        return open_pass(self.body)


class WalletClient:
    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.stub = wallet_pb2_grpc.WalletServiceStub(channel)

    async def issue(self, membership_id: object, user_id: str, proof: str | None = None) -> Reply:
        request = wallet_pb2.IssuePassRequest(membership_id=str(membership_id), user_id=user_id)
        return await _reply(self.stub.IssuePass, request, {"dpop": proof})

    async def issue_google(self, membership_id: object, user_id: str) -> Reply:
        request = wallet_pb2.IssueGooglePassRequest(membership_id=str(membership_id), user_id=user_id)
        return await _reply(self.stub.IssueGooglePass, request, {})

    async def register(
        self, serial: UUID | str, token: str, *, device: str = "library-1", push_token: str = "ab" * 32
    ) -> Reply:
        request = wallet_pb2.RegisterPassDeviceRequest(
            device_library_id=device,
            pass_type_identifier=PASS_TYPE,
            serial_number=str(serial),
            push_token=push_token,
        )
        return await _reply(self.stub.RegisterPassDevice, request, {"authorization": f"ApplePass {token}"})

    async def unregister(self, serial: UUID | str, token: str, *, device: str = "library-1") -> Reply:
        request = wallet_pb2.UnregisterPassDeviceRequest(
            device_library_id=device, pass_type_identifier=PASS_TYPE, serial_number=str(serial)
        )
        return await _reply(self.stub.UnregisterPassDevice, request, {"authorization": f"ApplePass {token}"})

    async def list_updated(self, since: str = "", *, device: str = "library-1", pass_type: str = PASS_TYPE) -> Reply:
        request = wallet_pb2.ListUpdatedPassesRequest(
            device_library_id=device, pass_type_identifier=pass_type, passes_updated_since=since
        )
        return await _reply(self.stub.ListUpdatedPasses, request, {})

    async def fetch(
        self,
        serial: UUID | str,
        authorization: str | None,
        *,
        if_modified_since: str | None = None,
        if_none_match: str | None = None,
        pass_type: str = PASS_TYPE,
    ) -> Reply:
        request = wallet_pb2.GetLatestPassRequest(pass_type_identifier=pass_type, serial_number=str(serial))
        metadata = {
            "authorization": authorization,
            "if-modified-since": if_modified_since,
            "if-none-match": if_none_match,
        }
        return await _reply(self.stub.GetLatestPass, request, metadata)

    async def log(self, lines: list[str]) -> Reply:
        return await _reply(self.stub.RecordPassLogs, wallet_pb2.RecordPassLogsRequest(logs=lines), {})


async def _reply(method: Callable[..., Awaitable[Any]], request: Any, metadata: dict[str, str | None]) -> Reply:
    call: Any = method(request, metadata=[(key, value) for key, value in metadata.items() if value is not None])
    try:
        answer = await call
    except grpc.aio.AioRpcError as failure:
        error = from_rpc_error(failure.code(), failure.details() or "", tuple(failure.trailing_metadata()))
        if error is None:
            raise
        return Reply(error.http_status, dict(failure.trailing_metadata()), error=error)
    headers = dict(await call.initial_metadata())
    body = answer.data if hasattr(answer, "data") else answer.save_url.encode()
    return Reply(int(headers.pop("x-http-status", "200")), headers, body)
