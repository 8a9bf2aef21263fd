"""List a membership's encounters for its own device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from uuid import UUID

import asyncpg

from services.data.storage.connections import Connection
from services.data.storage.database import Database
from services.encounter.page_token import Position, decode, encode
from services.encounter.register import Encounter
from services.encounter.statements import QUERIES
from services.identity.device_proof import ClaimedProof, DeviceProofs, VerifiedProof
from services.identity.device_proof.spending import spend
from services.identity.ownership import known_membership_id, require_live, unknown_membership
from services.server.runtime.fields import refuse_nul
from vyris.bounds import limit_of
from vyris.encounter.v1 import encounter_pb2
from vyris.errors import InvalidRequest

PAGE_SIZE_DEFAULT: Final = 50
PAGE_SIZE_LIMIT: Final = limit_of(encounter_pb2.ListEncountersRequest, "page_size")


class History:
    """Reads pages of encounters, newest first."""

    def __init__(self, database: Database, proofs: DeviceProofs) -> None:
        self._database = database
        self._proofs = proofs

    async def page(
        self, request: encounter_pb2.ListEncountersRequest, proof: ClaimedProof
    ) -> encounter_pb2.ListEncountersResponse:
        """Read one page. Raises InvalidRequest, NotFound, Unauthorized, Retryable."""
        refuse_nul(request.membership_id)
        size = _page_size(request.page_size)
        after = decode(request.page_token) if request.page_token else None
        membership_id = known_membership_id(request.membership_id)
        to_spend = await self._authorize(membership_id, proof)
        # Read one row more, to know whether there is another page.
        arguments = (membership_id, after and after.verified_at, after and after.id, size + 1)

        async def read(connection: Connection) -> list[asyncpg.Record]:
            await spend(connection, to_spend)
            return await connection.fetch(QUERIES["list_encounters"], *arguments)

        return _response(await self._database.in_transaction(read), size)

    async def _authorize(self, membership_id: UUID, proof: ClaimedProof) -> VerifiedProof | None:
        """Verify the proof, which the caller spends. Return None if DEVICE_PROOF is off."""
        row = await self._database.fetchrow(QUERIES["find_membership"], membership_id)
        if row is None:
            raise unknown_membership()
        require_live(revoked=row["revoked"])
        return self._proofs.required(proof, enrolled_thumbprint=row["thumbprint"], for_device_alone=True)


def _page_size(asked: int) -> int:
    if not 0 <= asked <= PAGE_SIZE_LIMIT:
        raise InvalidRequest(f"page_size must be 1 to {PAGE_SIZE_LIMIT}, or 0 for {PAGE_SIZE_DEFAULT}")
    return asked or PAGE_SIZE_DEFAULT


def _response(rows: Sequence[asyncpg.Record], size: int) -> encounter_pb2.ListEncountersResponse:
    shown = [Encounter(**dict(row)) for row in rows[:size]]
    last = shown[-1] if len(rows) > size else None
    return encounter_pb2.ListEncountersResponse(
        encounters=[encounter.message() for encounter in shown],
        next_page_token=encode(Position(last.verified_at, last.id)) if last else "",
    )
