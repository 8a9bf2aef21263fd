"""Apple's PassKit web service: who is told of a pass's updates, and the pass as it is now.

Source: Apple, "Adding a Web Service to Update Passes". Each method says
what became of the call; the servicer makes a status of it.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import Final
from uuid import UUID

from services.runtime.fields import is_longer, known_uuid, refuse_nul
from services.storage.connections import Connection
from services.storage.database import Database
from services.wallet.pass_json import PassFacts, PassState
from services.wallet.pass_tokens import PassTokens
from services.wallet.statements import QUERIES
from vyris.errors import InvalidRequest, Unauthorized

DEVICES_PER_PASS_LIMIT: Final = 32
LISTED_LIMIT: Final = 1_000
ALL: Final = -1
# Apple's identifiers have no documented form ("treat as opaque"; today they are 64 hexadecimal digits). The bound is a
# multiple of any so far, and the longest that an index entry of Postgres holds with room to spare.
DEVICE_ID_LIMIT_BYTES: Final = 2_048
_TAG: Final = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class StoredPass:
    """A pass as its holder fetches it. `modified_at` is a whole second."""

    facts: PassFacts
    modified_at: datetime

    @property
    def last_modified(self) -> str:
        """The header of that name (RFC 9110)."""
        return format_datetime(self.modified_at.astimezone(UTC), usegmt=True)

    def unchanged_since(self, if_modified_since: str | None) -> bool:
        """Whether the holder's copy is the newest. A date that cannot be read does not count (RFC 9110)."""
        if if_modified_since is None:
            return False
        try:
            since = parsedate_to_datetime(if_modified_since)
        except (ValueError, OverflowError):
            return False
        return self.modified_at <= (since if since.tzinfo else since.replace(tzinfo=UTC))


class PassWebService:
    """Serves the passes of one pass type."""

    def __init__(self, database: Database, tokens: PassTokens, pass_type_identifier: str) -> None:
        self._database = database
        self._tokens = tokens
        self._pass_type_identifier = pass_type_identifier

    def admit(self, pass_type_identifier: str, serial_number: str, authorization: str | None) -> UUID:
        """The serial, if the caller holds that pass. Raises Unauthorized for everything else alike."""
        serial = known_uuid(serial_number, _not_its_own())
        if pass_type_identifier != self._pass_type_identifier or not self._tokens.admits(authorization, serial):
            raise _not_its_own()
        return serial

    async def register(self, serial: UUID, device_library_id: str, push_token: str) -> bool:
        """Whether the registration is new. Raises InvalidRequest, Unauthorized."""
        _apples_id("device_library_id", device_library_id)
        _apples_id("pushToken", push_token)

        async def work(connection: Connection) -> bool:
            created = await connection.fetchval(QUERIES["register_device"], device_library_id, serial, push_token)
            if created is None:
                raise _not_its_own()
            if created:
                await connection.execute(QUERIES["forget_oldest_registrations"], serial, DEVICES_PER_PASS_LIMIT)
            return bool(created)

        return await self._database.in_transaction(work)

    async def unregister(self, serial: UUID, device_library_id: str) -> None:
        """Forget a device. One that was never known is no error."""
        _apples_id("device_library_id", device_library_id)
        await self._database.execute(QUERIES["unregister_device"], device_library_id, serial)

    async def updated_passes(
        self, device_library_id: str, pass_type_identifier: str, updated_since: str
    ) -> bytes | None:
        """The JSON that lists what changed; None where nothing did. The device's own name is its secret."""
        _apples_id("device_library_id", device_library_id)
        refuse_nul(pass_type_identifier, updated_since)
        if pass_type_identifier != self._pass_type_identifier:
            return None
        # A tag that is not ours lists everything: too much is harmless, too little is a pass that lies.
        since = int(updated_since) if _TAG.fullmatch(updated_since) else ALL
        rows = await self._database.fetch(QUERIES["list_updated"], device_library_id, since, LISTED_LIMIT)
        if not rows:
            return None
        listed = {"serialNumbers": [str(row["serial"]) for row in rows], "lastUpdated": str(rows[-1]["tag"])}
        return json.dumps(listed).encode()

    async def read(self, serial: UUID) -> StoredPass:
        """The pass as it is now. Raises Unauthorized."""
        row = await self._database.fetchrow(QUERIES["read_pass"], serial)
        if row is None:
            raise _not_its_own()
        facts = PassFacts(
            serial_number=str(row["serial"]),
            public_id=row["public_id"],
            tier=row["tier"],
            year=row["year"],
            sequence_num=row["sequence_num"],
            minted_at=row["minted_at"],
            state=PassState(row["state"]),
            is_test=row["environment"] != "production",
        )
        return StoredPass(facts, row["modified_at"])


def _not_its_own() -> Unauthorized:
    return Unauthorized("The pass is not known, or the token is not its own")


def _apples_id(name: str, text: str) -> None:
    """Refuse what no identifier of Apple's can be. Raises InvalidRequest."""
    if not text.isprintable() or not text.strip() or is_longer(text, DEVICE_ID_LIMIT_BYTES):
        raise InvalidRequest(f"{name} must be 1 to {DEVICE_ID_LIMIT_BYTES} bytes of printable text")
