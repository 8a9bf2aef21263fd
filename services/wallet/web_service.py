"""Apple's PassKit web service: phones register for a pass's updates and fetch the current pass.

Source: Apple, "Adding a Web Service to Update Passes". Each method returns a result; the servicer turns it into an HTTP
status.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import Final
from uuid import UUID

from services.data.storage.connections import Connection
from services.data.storage.database import Database
from services.server.runtime.fields import is_longer, known_uuid, refuse_nul
from services.wallet.pass_json import PassFacts, PassState
from services.wallet.pass_tokens import PassTokens
from services.wallet.statements import QUERIES
from vyris.bounds import limit_of
from vyris.errors import InvalidRequest, Unauthorized
from vyris.wallet.v1 import wallet_pb2

DEVICES_PER_PASS_LIMIT: Final = 32
LISTED_LIMIT: Final = 1_000
ALL: Final = -1
# Apple's identifiers have no documented form ("treat as opaque"; today they are 64 hexadecimal digits). The limit is
# far above any so far, and still fits into an index entry of Postgres. A push token has the same one.
DEVICE_ID_LIMIT_BYTES: Final = limit_of(wallet_pb2.RegisterPassDeviceRequest, "device_library_id")
_TAG: Final = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class StoredPass:
    """A pass as phones fetch it. `modified_at` is a whole second."""

    facts: PassFacts
    modified_at: datetime

    @property
    def last_modified(self) -> str:
        """The header `Last-Modified` (RFC 9110)."""
        return format_datetime(self.modified_at.astimezone(UTC), usegmt=True)

    def unchanged_since(self, if_modified_since: str | None) -> bool:
        """Whether the phone's copy is current. An unreadable date counts as no date (RFC 9110)."""
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
        """Return the serial if the caller has the pass's token. Otherwise raises Unauthorized, with one message."""
        serial = known_uuid(serial_number, _unauthorized())
        if pass_type_identifier != self._pass_type_identifier or not self._tokens.admits(authorization, serial):
            raise _unauthorized()
        return serial

    async def register(self, serial: UUID, device_library_id: str, push_token: str) -> bool:
        """Register a device. Return whether the registration is new. Raises InvalidRequest, Unauthorized."""
        _check_identifier("device_library_id", device_library_id)
        _check_identifier("pushToken", push_token)

        async def work(connection: Connection) -> bool:
            created = await connection.fetchval(QUERIES["register_device"], device_library_id, serial, push_token)
            if created is None:
                raise _unauthorized()
            if created:
                await connection.execute(QUERIES["forget_oldest_registrations"], serial, DEVICES_PER_PASS_LIMIT)
            return bool(created)

        return await self._database.in_transaction(work)

    async def unregister(self, serial: UUID, device_library_id: str) -> None:
        """Delete a registration. An unknown one is not an error."""
        _check_identifier("device_library_id", device_library_id)
        await self._database.execute(QUERIES["unregister_device"], device_library_id, serial)

    async def updated_passes(
        self, device_library_id: str, pass_type_identifier: str, updated_since: str
    ) -> bytes | None:
        """Return the JSON that lists changed passes, or None. Needs no token: the device library id is secret."""
        _check_identifier("device_library_id", device_library_id)
        refuse_nul(pass_type_identifier, updated_since)
        if pass_type_identifier != self._pass_type_identifier:
            return None
        # A tag that is not ours lists everything: a long list is harmless, but a missing pass stays outdated.
        since = int(updated_since) if _TAG.fullmatch(updated_since) else ALL
        rows = await self._database.fetch(QUERIES["list_updated"], device_library_id, since, LISTED_LIMIT)
        if not rows:
            return None
        listed = {"serialNumbers": [str(row["serial"]) for row in rows], "lastUpdated": str(rows[-1]["tag"])}
        return json.dumps(listed).encode()

    async def read(self, serial: UUID) -> StoredPass:
        """Read the current pass. Raises Unauthorized if it is unknown."""
        row = await self._database.fetchrow(QUERIES["read_pass"], serial)
        if row is None:
            raise _unauthorized()
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


def _unauthorized() -> Unauthorized:
    return Unauthorized("The pass is not known, or the token is not its own")


def _check_identifier(name: str, text: str) -> None:
    """Check the form of an identifier of Apple's. Raises InvalidRequest."""
    if not text.isprintable() or not text.strip() or is_longer(text, DEVICE_ID_LIMIT_BYTES):
        raise InvalidRequest(f"{name} must be 1 to {DEVICE_ID_LIMIT_BYTES} bytes of printable text")
