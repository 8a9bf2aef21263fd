"""Record the single use of a proof, in the transaction of its call's effect."""

from __future__ import annotations

from typing import Final

from services.data.storage.connections import Connection
from services.data.storage.database import Database
from services.data.storage.queries import Queries
from services.identity.device_proof.verification import VerifiedProof
from vyris.device_proof import AGE_LIMIT_S
from vyris.errors import Unauthorized

# Accept proofs of a phone with a clock that is a little ahead.
FUTURE_LEEWAY_S: Final = 10
PURGE_LIMIT: Final = 5_000

QUERIES: Final = Queries.beside(__file__)
STALE_MESSAGE: Final = f"Device proof: it is older than {AGE_LIMIT_S} s, or its iat lies in the future"
_REFUSALS: Final = {
    "stale": STALE_MESSAGE,
    "replayed": "Device proof: it was used before; make a new one for each call",
}


async def spend(connection: Connection, proof: VerifiedProof | None) -> None:
    """Record the use inside the caller's transaction; do nothing for None.

    Raises `Unauthorized` if the proof is stale or spent already. Let it pass, so that the transaction rolls back.
    """
    if proof is None:
        return
    outcome = await connection.fetchval(
        QUERIES["spend_proof"], proof.thumbprint, proof.jti, proof.issued_at_s, AGE_LIMIT_S, FUTURE_LEEWAY_S
    )
    if outcome in _REFUSALS:
        raise Unauthorized(_REFUSALS[outcome])


async def is_fresh(database: Database, proof: VerifiedProof) -> bool:
    """Whether a proof is fresh by Postgres' clock. Records nothing."""
    row = await database.fetchrow(QUERIES["is_proof_fresh"], proof.issued_at_s, AGE_LIMIT_S, FUTURE_LEEWAY_S)
    return bool(row and row["fresh"])


async def purge(database: Database) -> None:
    """Delete uses of proofs that are too old to be replayed, at most `PURGE_LIMIT` at a time."""
    await database.execute(QUERIES["purge_proofs"], PURGE_LIMIT)
