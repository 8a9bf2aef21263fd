"""Tokens signed by the initiator's own device. They count only with a device proof by the receiver's device.

One device's signature does not prove that two devices met. So the call carries a proof by the receiver's device, and
both keys must be active in the transaction that spends the proof and records the encounter.
"""

from __future__ import annotations

import asyncio

from services.data.storage.connections import Connection
from services.data.storage.database import Database
from services.encounter.encounter_token import Meeting, prove
from services.encounter.register import Encounter, Register
from services.encounter.statements import QUERIES
from services.identity.device_proof import ClaimedProof, DeviceProofs
from services.identity.device_proof.spending import spend
from services.identity.jose import Token, stored_public_key
from vyris.errors import Retryable, Unauthorized, VyrisError

# A caller that sends tokens with invented key names must not occupy every connection of the pool.
TRANSACTIONS_LIMIT = 3
WAITING_LIMIT = 512


class DeviceSignedEncounters:
    """Verifies and records tokens whose `kid` is the thumbprint of the initiator's device."""

    def __init__(self, database: Database, register: Register, proofs: DeviceProofs) -> None:
        self._database = database
        self._register = register
        self._proofs = proofs
        self._transactions = asyncio.Semaphore(TRANSACTIONS_LIMIT)
        self._calls = 0

    async def record(self, token: Token, meeting: Meeting, proof: ClaimedProof, *, deadline_s: float) -> Encounter:
        """Verify the token and the proof, and record the meeting.

        Raises TokenRefused, Unauthorized, Conflict, Retryable.
        """
        if proof.text is None:
            raise Unauthorized("A proof by the receiver's enrolled device is required (header DPoP)")
        if self._calls >= WAITING_LIMIT:
            raise Retryable.shed()
        self._calls += 1
        try:
            async with asyncio.timeout(deadline_s), self._transactions:
                return await self._database.in_transaction(
                    lambda connection: self._in_transaction(connection, token, meeting, proof)
                )
        except TimeoutError:
            raise Retryable() from None
        finally:
            self._calls -= 1

    async def _in_transaction(
        self, connection: Connection, token: Token, meeting: Meeting, proof: ClaimedProof
    ) -> Encounter:
        row = await connection.fetchrow(QUERIES["find_signers"], meeting.initiator_id, token.kid, meeting.receiver_id)
        # The same refusal for an unknown device, a retired one, and one that did not sign this token.
        proven = prove(token, meeting, [stored_public_key(row["initiator_key"])] if row else [])
        receiver = row["receiver_thumbprint"] if row else None
        await spend(connection, self._proofs.verified(proof, thumbprint=receiver))
        outcome = (await self._register.record(connection.fetch, [proven]))[0]
        if isinstance(outcome, VyrisError):
            raise outcome  # rolls back: a proof is spent with its call's effect or not at all
        return outcome
