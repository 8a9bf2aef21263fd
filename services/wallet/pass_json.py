"""The text of a pass: `pass.json` in Apple's `storeCard` style.

Source: Apple, "Wallet Passes" (Pass, PassFields, Pass.Barcodes). The same facts give the same bytes.
"""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from services.server.runtime.fields import shown_tier
from services.wallet.artwork.palettes import Colour, palette_for
from services.wallet.phrases import ABOUT, NOT_PAID, SANDBOX

FORMAT_VERSION: Final = 1


class PassState(enum.StrEnum):
    """The membership's state on the pass. Every state except ACTIVE is voided."""

    ACTIVE = "ACTIVE"  # -> REVOKED, MOVED
    REVOKED = "REVOKED"  # -> ACTIVE (the revocation was reversed)
    MOVED = "MOVED"  # final: the membership is on another device, with another serial


STATE_PHRASES: Final = {PassState.ACTIVE: "Active", PassState.REVOKED: "Revoked", PassState.MOVED: "Moved"}


@dataclass(frozen=True, slots=True)
class PassIssuer:
    """The issuer of passes, and the web service that updates them.

    `web_service_url` is https, or None for passes that are never updated.
    """

    pass_type_identifier: str
    team_identifier: str
    organization_name: str = "VYRIS"
    web_service_url: str | None = None


@dataclass(frozen=True, slots=True)
class PassFacts:
    """The content of one pass. `public_id` is random and identifies the membership in the QR code."""

    serial_number: str
    public_id: str
    tier: str
    year: str
    sequence_num: int
    minted_at: datetime
    state: PassState = PassState.ACTIVE
    is_test: bool = False  # a test purchase (sandbox), not paid


def file_name(facts: PassFacts) -> str:
    """Return the file name of the download."""
    return f"vyris-{facts.tier}-{facts.sequence_num}.pkpass"


def pass_json(facts: PassFacts, issuer: PassIssuer, authentication_token: str) -> bytes:
    """Return the bytes of `pass.json`. The token has 16 characters or more."""
    palette = palette_for(facts.tier)
    document: dict[str, Any] = {
        "formatVersion": FORMAT_VERSION,
        "passTypeIdentifier": issuer.pass_type_identifier,
        "serialNumber": facts.serial_number,
        "teamIdentifier": issuer.team_identifier,
        "organizationName": issuer.organization_name,
        "description": "VYRIS membership",
        "backgroundColor": _rgb(palette.background),
        "foregroundColor": _rgb(palette.foreground),
        "labelColor": _rgb(palette.label),
        "sharingProhibited": True,
        "suppressStripShine": True,
        "barcodes": [_barcode(facts)],
        "storeCard": _store_card(facts),
    }
    if issuer.web_service_url is not None:
        document["webServiceURL"] = issuer.web_service_url
        document["authenticationToken"] = authentication_token
    if facts.state is not PassState.ACTIVE:
        document["voided"] = True
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def _barcode(facts: PassFacts) -> dict[str, str]:
    return {
        "format": "PKBarcodeFormatQR",
        "message": facts.public_id,
        "messageEncoding": "iso-8859-1",
        "altText": f"{shown_tier(facts.tier)} {facts.year} · {facts.sequence_num}",
    }


def _store_card(facts: PassFacts) -> dict[str, list[dict[str, Any]]]:
    return {
        "headerFields": [*_test_mark(facts), {"key": "year", "label": "YEAR", "value": facts.year}],
        "primaryFields": [{"key": "number", "label": "MEMBER NO.", "value": str(facts.sequence_num)}],
        "secondaryFields": [
            {"key": "tier", "label": "TIER", "value": shown_tier(facts.tier)},
            {
                "key": "since",
                "label": "SINCE",
                "value": facts.minted_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                "dateStyle": "PKDateStyleMedium",
                "timeStyle": "PKDateStyleNone",
            },
            {
                "key": "status",
                "label": "STATUS",
                "value": STATE_PHRASES[facts.state],
                # Wallet shows this on the lock screen when an update changes the value.
                "changeMessage": "Your membership: %@",
            },
        ],
        "backFields": [
            {"key": "about", "label": "About this pass", "value": ABOUT},
            {"key": "serial", "label": "Pass", "value": facts.serial_number},
        ],
    }


def _test_mark(facts: PassFacts) -> list[dict[str, Any]]:
    """The test mark goes into the header, which stays visible in a stack of passes."""
    return [{"key": "sandbox", "label": NOT_PAID, "value": SANDBOX}] if facts.is_test else []


def _rgb(colour: Colour) -> str:
    return "rgb({}, {}, {})".format(*colour)
