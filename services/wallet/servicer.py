"""The wallet service's RPCs."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from google.api.httpbody_pb2 import HttpBody

from services.data.storage.database import Database
from services.identity.device_proof import DeviceProofs, VerifiedProof, claimed_proof
from services.identity.ownership import known_membership_id
from services.server.runtime.call import HTTP_STATUS_KEY, Call
from services.server.runtime.fields import refuse_nul
from services.server.runtime.request_checks import compile_check
from services.wallet.device_logs import DeviceLogs
from services.wallet.google_wallet import GoogleIssuer
from services.wallet.issuing import issue_pass
from services.wallet.package import MEDIA_TYPE
from services.wallet.pass_json import PassFacts, file_name
from services.wallet.pass_tokens import PassTokens
from services.wallet.signing_room import SigningRoom
from services.wallet.web_service import PassWebService
from vyris.errors import NotFound
from vyris.wallet.v1 import wallet_pb2

SERVICE: Final = wallet_pb2.DESCRIPTOR.services_by_name["WalletService"]
_EMPTY: Final = HttpBody(content_type="text/plain")
_check_issue = compile_check(wallet_pb2.IssuePassRequest)
_check_issue_google = compile_check(wallet_pb2.IssueGooglePassRequest)


class WalletServicer:
    """Serves `vyris.wallet.v1.WalletService`."""

    def __init__(
        self,
        database: Database,
        room: SigningRoom,
        tokens: PassTokens,
        proofs: DeviceProofs,
        web_service: PassWebService,
        google: GoogleIssuer | None,
    ) -> None:
        self._database = database
        self._room = room
        self._tokens = tokens
        self._proofs = proofs
        self._web_service = web_service
        self._google = google
        self._logs = DeviceLogs()

    async def issue_pass(self, request: wallet_pb2.IssuePassRequest, call: Call) -> HttpBody:
        """POST /issue-pass. Raises the errors that the proto lists, and Retryable."""
        with self._room.place():
            refuse_nul(request.membership_id, request.user_id)
            _check_issue(request)
            facts = await self._issue_to_owner(request, call)
            package = await self._sign(facts)
        await call.answer_headers(_disposition(facts))
        return HttpBody(content_type=MEDIA_TYPE, data=package)

    async def issue_google_pass(
        self, request: wallet_pb2.IssueGooglePassRequest, call: Call
    ) -> wallet_pb2.IssueGooglePassResponse:
        """POST /issue-pass/google. Raises the same errors, and NotFound if Google Wallet is not configured."""
        refuse_nul(request.membership_id, request.user_id)
        _check_issue_google(request)
        if self._google is None:
            raise NotFound("Google Wallet is not configured")
        facts = await self._issue_to_owner(request, call)
        return wallet_pb2.IssueGooglePassResponse(save_url=self._google.save_url(facts))

    async def register_pass_device(self, request: wallet_pb2.RegisterPassDeviceRequest, call: Call) -> HttpBody:
        """201 for a new registration, 200 for a known one. Raises Unauthorized, InvalidRequest."""
        serial = self._admit(request, call)
        created = await self._web_service.register(serial, request.device_library_id, request.push_token)
        return await _empty(call, 201 if created else 200)

    async def unregister_pass_device(self, request: wallet_pb2.UnregisterPassDeviceRequest, call: Call) -> HttpBody:
        """Always 200. Raises Unauthorized, InvalidRequest."""
        serial = self._admit(request, call)
        await self._web_service.unregister(serial, request.device_library_id)
        return await _empty(call, 200)

    async def list_updated_passes(self, request: wallet_pb2.ListUpdatedPassesRequest, call: Call) -> HttpBody:
        """200 with the list, or 204 if nothing changed. Raises InvalidRequest."""
        listed = await self._web_service.updated_passes(
            request.device_library_id, request.pass_type_identifier, request.passes_updated_since
        )
        if listed is None:
            return await _empty(call, 204)
        return HttpBody(content_type="application/json", data=listed)

    async def get_latest_pass(self, request: wallet_pb2.GetLatestPassRequest, call: Call) -> HttpBody:
        """200 with the pass, or 304. Raises Unauthorized."""
        stored = await self._web_service.read(self._admit(request, call))
        last_modified = ("last-modified", stored.last_modified)
        # RFC 9110 section 13.1.3: a cache that asks by a tag does not ask by the date. A pass has no tag.
        asks_by_date = call.metadata("if-none-match") is None
        if asks_by_date and stored.unchanged_since(call.metadata("if-modified-since")):
            return await _empty(call, 304, last_modified)
        with self._room.place():
            package = await self._sign(stored.facts)
        await call.answer_headers(last_modified, _disposition(stored.facts))
        return HttpBody(content_type=MEDIA_TYPE, data=package)

    async def record_pass_logs(self, request: wallet_pb2.RecordPassLogsRequest, call: Call) -> HttpBody:
        """Always 200, also for lines that are dropped."""
        refuse_nul(*request.logs)
        self._logs.record(request.logs)
        return await _empty(call, 200)

    async def _issue_to_owner(
        self, request: wallet_pb2.IssuePassRequest | wallet_pb2.IssueGooglePassRequest, call: Call
    ) -> PassFacts:
        """Check the caller and issue the owner's pass."""
        membership_id = known_membership_id(request.membership_id)

        def ask_for_proof(thumbprint: str | None) -> VerifiedProof | None:
            return self._proofs.required(claimed_proof(call, request), enrolled_thumbprint=thumbprint)

        return await issue_pass(
            self._database,
            membership_id=membership_id,
            user_id=request.user_id,
            require_user=call.require_user,
            ask_for_proof=ask_for_proof,
        )

    def _admit(
        self,
        request: wallet_pb2.RegisterPassDeviceRequest
        | wallet_pb2.UnregisterPassDeviceRequest
        | wallet_pb2.GetLatestPassRequest,
        call: Call,
    ) -> UUID:
        return self._web_service.admit(
            request.pass_type_identifier, request.serial_number, call.metadata("authorization")
        )

    async def _sign(self, facts: PassFacts) -> bytes:
        return await self._room.press(facts, self._tokens.token(UUID(facts.serial_number)))


def _disposition(facts: PassFacts) -> tuple[str, str]:
    return "content-disposition", f'attachment; filename="{file_name(facts)}"'


async def _empty(call: Call, status: int, *headers: tuple[str, str]) -> HttpBody:
    await call.answer_headers((HTTP_STATUS_KEY, str(status)), *headers)
    return _EMPTY
