"""A link that saves the membership's card to Google Wallet: one signed JWT that contains the whole card.

Source: Google Wallet API, "Generic pass" and "JWT" (`typ: savetowallet`, RS256, `aud: google`). We do not call Google:
it creates the card when the owner opens the link.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from services.server.runtime.fields import shown_tier
from services.server.runtime.settings import WrongSetting, expanded
from services.wallet.artwork.palettes import palette_for
from services.wallet.pass_json import PassFacts
from services.wallet.phrases import LANGUAGES, NOT_PAID, SANDBOX, translate
from services.wallet.settings import WalletSettings

SAVE_URL: Final = "https://pay.google.com/gp/v/save/"


@dataclass(frozen=True)
class GoogleIssuer:
    """A service account with its parsed key, and the class of its cards."""

    issuer_id: str
    class_suffix: str
    client_email: str
    private_key: RSAPrivateKey
    organization_name: str

    def save_url(self, facts: PassFacts) -> str:
        """The link for this membership's card. The same facts give the same card."""
        claims = {
            "iss": self.client_email,
            "aud": "google",
            "typ": "savetowallet",
            "origins": [],
            "payload": {"genericClasses": [{"id": self._class_id}], "genericObjects": [self._object(facts)]},
        }
        return SAVE_URL + jwt.encode(claims, self.private_key, algorithm="RS256")

    @property
    def _class_id(self) -> str:
        return f"{self.issuer_id}.{self.class_suffix}"

    def _object(self, facts: PassFacts) -> dict[str, Any]:
        return {
            "id": f"{self.issuer_id}.{facts.public_id}",
            "classId": self._class_id,
            "state": "ACTIVE",
            "cardTitle": _localize(self.organization_name),
            "header": _localize(f"{shown_tier(facts.tier)} {facts.year}"),
            "subheader": _localize("MEMBER NO."),
            "hexBackgroundColor": "#{:02x}{:02x}{:02x}".format(*palette_for(facts.tier).background),
            "textModulesData": [
                {"id": "number", "header": "MEMBER NO.", "body": str(facts.sequence_num)},
                *([{"id": "sandbox", "header": NOT_PAID, "body": SANDBOX}] if facts.is_test else []),
            ],
            "barcode": {
                "type": "QR_CODE",
                "value": facts.public_id,
                "alternateText": f"{shown_tier(facts.tier)} {facts.year} · {facts.sequence_num}",
            },
        }


def google_issuer(settings: WalletSettings) -> GoogleIssuer | None:
    """The issuer of the settings, or None if they name none. Raises WrongSetting."""
    account = settings.google_wallet_service_account.get_secret_value().strip()
    if not account and not settings.google_wallet_issuer_id:
        return None
    if not account or not settings.google_wallet_issuer_id:
        raise WrongSetting("GOOGLE_WALLET_ISSUER_ID and GOOGLE_WALLET_SERVICE_ACCOUNT must be set together")
    name = "GOOGLE_WALLET_SERVICE_ACCOUNT"
    try:
        text = account if account.startswith("{") else expanded(Path(account)).read_text(encoding="utf-8")
        document = json.loads(text)
        key = load_pem_private_key(document["private_key"].encode(), None)
        email = str(document["client_email"])
    except OSError as error:
        raise WrongSetting(f"{name} is neither JSON nor a file that can be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise WrongSetting(f"{name} holds no service account key (client_email, private_key)") from None
    if not isinstance(key, RSAPrivateKey):
        raise WrongSetting(f"{name}'s private_key is not an RSA key")
    return GoogleIssuer(
        settings.google_wallet_issuer_id, settings.google_wallet_class, email, key, settings.pass_organization_name
    )


def _localize(phrase: str) -> dict[str, Any]:
    translations = {language: translate(phrase, language) for language in LANGUAGES[1:]}
    localized: dict[str, Any] = {"defaultValue": {"language": LANGUAGES[0], "value": phrase}}
    if any(value != phrase for value in translations.values()):
        localized["translatedValues"] = [{"language": code, "value": value} for code, value in translations.items()]
    return localized
