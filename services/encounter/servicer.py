"""The encounter service's RPCs: cheap checks first, then the signature, then one statement decides."""

from __future__ import annotations

import re
from typing import Final

from services.encounter import metrics
from services.encounter.authority_keys import AuthorityKeys
from services.encounter.device_signed import DeviceSignedEncounters
from services.encounter.encounter_token import TimeLimits, prove, read_encounter
from services.encounter.history import History
from services.encounter.recording import Recorder
from services.encounter.register import Encounter
from services.identity.device_proof import claimed_proof
from services.identity.jose import TokenRefused
from services.server.runtime.call import Call
from vyris.encounter.v1 import encounter_pb2
from vyris.errors import InvalidRequest, Unauthorized, VyrisError

THUMBPRINT: Final = re.compile(r"[A-Za-z0-9_-]{43}")  # RFC 7638, SHA-256 in base64url


class EncounterServicer:
    """Serves `vyris.encounter.v1.EncounterService`."""

    def __init__(
        self,
        authority: AuthorityKeys,
        limits: TimeLimits,
        recorder: Recorder,
        device_signed: DeviceSignedEncounters | None,
        history: History,
        *,
        own_typ_required: bool,
    ) -> None:
        """`device_signed`: None if devices may not sign. `own_typ_required`: refuse tokens with typ JWT or no typ."""
        self._authority = authority
        self._limits = limits
        self._recorder = recorder
        self._device_signed = device_signed
        self._history = history
        self._own_typ_required = own_typ_required

    async def verify_encounter(
        self, request: encounter_pb2.VerifyEncounterRequest, call: Call
    ) -> encounter_pb2.VerifyEncounterResponse:
        """POST /encounters/verify. Raises the errors that the proto lists, and Retryable."""
        try:
            encounter = await self._record(request, call)
        except TokenRefused as refusal:
            metrics.ENCOUNTERS(Unauthorized.reason).inc()
            raise Unauthorized(f"Encounter token: {refusal.message}") from None
        except VyrisError as refusal:
            metrics.ENCOUNTERS(refusal.reason).inc()
            raise
        metrics.ENCOUNTERS("VERIFIED").inc()
        return encounter_pb2.VerifyEncounterResponse(status="VERIFIED", encounter=encounter.message())

    async def list_encounters(
        self, request: encounter_pb2.ListEncountersRequest, call: Call
    ) -> encounter_pb2.ListEncountersResponse:
        """GET /memberships/{membership_id}/encounters. Raises the errors that the proto lists, and Retryable."""
        return await self._history.page(request, claimed_proof(call, request))

    async def _record(self, request: encounter_pb2.VerifyEncounterRequest, call: Call) -> Encounter:
        if not request.token or request.token.isspace():
            raise InvalidRequest("token is missing")
        token, meeting = read_encounter(request.token, self._limits, own_typ_required=self._own_typ_required)
        candidates = self._authority.candidates(token.kid)
        if not candidates and self._device_signed and token.kid and THUMBPRINT.fullmatch(token.kid):
            return await self._device_signed.record(
                token, meeting, claimed_proof(call, request), deadline_s=call.remaining_s
            )
        return await self._recorder.record(request.token, prove(token, meeting, candidates), call.remaining_s)
