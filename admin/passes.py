"""Build the pass of a membership for an operator, as its owner gets it."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from services.data.audit_log import Actor
from services.data.storage.database import Database
from services.wallet.issuing import issue_to_operator
from services.wallet.package import PassPress
from services.wallet.pass_json import file_name
from services.wallet.settings import WalletSettings
from services.wallet.signing_setup import credentials_from, issuer_from, tokens_from


class MissingKeys(Exception):
    """The message names the settings that must give the keys."""


@dataclass(frozen=True, slots=True)
class BuiltPass:
    """A signed pass, and its file name."""

    file_name: str
    content: bytes


class PassBuilder:
    """Builds passes with the keys of the wallet service."""

    def __init__(self, database_url: str, *, may_make_keys: bool) -> None:
        """Raises WrongSetting, and MissingKeys unless keys may be made as the local stack makes them."""
        self._settings = WalletSettings(database_url=database_url)
        if not may_make_keys:
            _require_keys(self._settings)
        self._credentials = credentials_from(self._settings)
        self._tokens = tokens_from(self._settings)

    async def build(self, database: Database, membership_id: UUID, actor: Actor) -> BuiltPass:
        """Build a membership's pass, with an entry in the audit log. Raises NotFound, Unauthorized, Retryable."""
        facts = await issue_to_operator(database, membership_id, actor)
        press = PassPress(issuer_from(self._settings), self._credentials)
        return BuiltPass(file_name(facts), press.press(facts, self._tokens.token(UUID(facts.serial_number))))


def _require_keys(settings: WalletSettings) -> None:
    given = {
        "PASS_AUTH_KEY": settings.pass_auth_key.get_secret_value(),
        "PKPASS_CERTIFICATE": settings.pkpass_certificate,
        "PKPASS_KEY": settings.pkpass_key.get_secret_value(),
        "PKPASS_WWDR": settings.pkpass_wwdr,
    }
    missing = [name for name, value in given.items() if not value]
    if missing:
        raise MissingKeys(", ".join(missing))
