"""Example requests for the local stack, and their answers. A test sends and checks each."""

from __future__ import annotations

from typing import Any, Final

MEMBERSHIP: Final = "8f14e45f-ceea-467f-9b3a-2d5c1f0a6e11"
REFORGE: Final = "5b1d9f0e-3c0a-4b57-8d3c-0c4b7f8f2a90"
HOLD: Final = "3f2a7c1e-5d0b-4e6f-9a84-7c1d2e3f4a5b"
ENTRY: Final = "6d0c2f4b-91e7-4a3c-8b55-2e7f0a9c1d34"
SERIAL: Final = "c9f0f895-fb98-4ab9-9f51-1f2e3d4c5b6a"
PUBLIC_KEY: Final = """-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaxfR8uEsQkf4vOblY6RA8ncDfYEt
6zOg9KE5RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9Q==
-----END PUBLIC KEY-----
"""
_LINK: Final = "mJ0c5k4Vb2dQm3o5Zr1xH8tUq7Wn6yPa9sLfGe2iKjE"

BODIES: Final[dict[str, dict[str, dict[str, Any]]]] = {
    "Mint": {
        "smallest": {"receipt_data": "receipt-0001", "user_id": "ada"},
        "with_mailbox_and_drop": {
            "receipt_data": "receipt-0002",
            "user_id": "ada",
            "email": "ada@example.org",
            "tier": "genesis",
            "year": "2025",
        },
        "with_device": {
            "receipt_data": "receipt-0003",
            "user_id": "ada",
            "email": "ada@example.org",
            "device": {"device_id": "phone-a", "public_key": PUBLIC_KEY},
        },
    },
    "TakeHold": {"smallest": {"user_id": "ada"}},
    "ReleaseHold": {"owner": {"hold_id": HOLD, "user_id": "ada"}},
    "ExtendHold": {"owner": {"hold_id": HOLD, "user_id": "ada"}},
    "Enter": {"smallest": {"user_id": "ada"}},
    "Withdraw": {"owner": {"entry_id": ENTRY, "user_id": "ada"}},
    "NotifyAppStore": {
        "signed": {"signedPayload": "eyJhbGciOiJFUzI1NiJ9.eyJub3RpZmljYXRpb25UeXBlIjoiUkVGVU5EIn0.c2ln"}
    },
    "NotifyMerchant": {"signed": {"signed_payload": "eyJhbGciOiJFUzI1NiJ9.eyJldmVudCI6IlJFRlVORCJ9.c2ln"}},
    "VerifyEncounter": {"token": {"token": "eyJhbGciOiJFUzI1NiJ9.eyJqdGkiOiI3In0.c2ln"}},
    "InitReforge": {
        "to_a_new_phone": {
            "membership_id": MEMBERSHIP,
            "user_id": "ada",
            "old_device_id": "phone-a",
            "new_device_id": "phone-b",
            "new_public_key": PUBLIC_KEY,
        }
    },
    "ConfirmReforge": {"token": {"token": _LINK}},
    "RefuseReforge": {"by_link": {"token": _LINK}, "by_device": {"membership_id": MEMBERSHIP}},
    "UndoReforge": {"by_notice": {"token": _LINK}, "by_device": {"membership_id": MEMBERSHIP}},
    "ChangeEmail": {"new_address": {"user_id": "ada", "email": "ada@new.example"}},
    "RefuseEmailChange": {"newest": {}},
    "SubmitConfirmPage": {"button": {"token": _LINK}},
    "SubmitRefusePage": {"button": {"token": _LINK}},
    "SubmitUndoPage": {"button": {"token": _LINK}},
    "IssuePass": {"owner": {"membership_id": MEMBERSHIP, "user_id": "ada"}},
    "IssueGooglePass": {"owner": {"membership_id": MEMBERSHIP, "user_id": "ada"}},
    "RegisterPassDevice": {"phone": {"pushToken": "0123456789abcdef"}},
    "RecordPassLogs": {"complaint": {"logs": ["Web service error for pass.app.vyris: 401"]}},
}

PARAMETERS: Final[dict[str, str | int]] = {
    "tier": "genesis",
    "year": "2025",
    "membership_id": MEMBERSHIP,
    "reforge_id": REFORGE,
    "hold_id": HOLD,
    "entry_id": ENTRY,
    "page": 0,
    "token": _LINK,
    "page_size": 50,
    "page_token": "",
    "device_library_id": "0c1d2e3f",
    "pass_type_identifier": "pass.app.vyris.membership",
    "serial_number": SERIAL,
    "passesUpdatedSince": "",
    "environment": "",
}

_TIME: Final = "2025-06-01T12:00:00.000Z"
_HASH: Final = "5f78c33274e43fa9de5659265c1d917e25c03722dcb0b8d27db8d5feaa813953"
ANSWERS: Final[dict[str, Any]] = {
    "Mint": {
        "status": "FULFILLED",
        "membership": {
            "id": MEMBERSHIP,
            "tier": "genesis",
            "year": "2025",
            "sequence_num": 417,
            "pass_serial": SERIAL,
        },
        "replayed": False,
    },
    "NotifyAppStore": {"status": "REVOKED"},
    "NotifyMerchant": {"status": "REVOKED"},
    "GetDrop": {
        "tier": "genesis",
        "year": "2025",
        "capacity": 999,
        "minted": 417,
        "remaining": 582,
        "state": "OPEN",
        "opens_at": "",
        "closes_at": "",
        "sale": "direct",
        "held": 0,
        "available": 582,
    },
    "TakeHold": {
        "status": "HELD",
        "hold": {"id": HOLD, "tier": "genesis", "year": "2025", "expires_at": _TIME},
        "replayed": False,
    },
    "ReleaseHold": {"status": "RELEASED"},
    "ExtendHold": {
        "status": "HELD",
        "hold": {"id": HOLD, "tier": "genesis", "year": "2025", "expires_at": _TIME},
        "replayed": False,
    },
    "GetHold": {
        "hold": {
            "id": HOLD,
            "tier": "genesis",
            "year": "2025",
            "state": "HELD",
            "expires_at": _TIME,
            "membership_id": "",
        }
    },
    "Enter": {
        "status": "ENTERED",
        "entry": {"id": ENTRY, "salt": _HASH, "leaf_hash": _HASH, "entered_at": _TIME},
        "promise": "eyJhbGciOiJFZERTQSJ9.eyJsZWFmIjoiNWY3OCJ9.c2ln",
        "replayed": False,
    },
    "Withdraw": {"status": "WITHDRAWN"},
    "GetEntry": {
        "entry": {
            "id": ENTRY,
            "tier": "genesis",
            "year": "2025",
            "state": "ENTERED",
            "salt": _HASH,
            "leaf_hash": _HASH,
            "entered_at": _TIME,
            "leaf_index": 7,
            "proof": [_HASH],
            "rank": 41,
            "key": _HASH,
            "offer": {
                "hold_id": HOLD,
                "number": 417,
                "wave": 1,
                "state": "HELD",
                "expires_at": _TIME,
            },
        }
    },
    "GetDraw": {
        "tier": "genesis",
        "year": "2025",
        "capacity": 999,
        "state": "ENTERING",
        "entries_open": _TIME,
        "entries_close": _TIME,
        "closes_at": _TIME,
        "terms": '{"v":"vyris-draw-terms-v1"}',
        "terms_hash": _HASH,
        "beacon": {"chain_hash": _HASH, "public_key": "83cf0f28", "round": 35000000, "round_at": _TIME},
        "entries": 0,
        "entries_root": "",
        "checkpoint": "",
        "withdrawn": 0,
        "refused": [],
        "signature": "",
        "seed": "",
        "cutoff": "",
        "offered_rank": 0,
        "offer_until": "",
        "cancel_reason": "",
        "poll_after_s": 60,
    },
    "ListLeaves": {"leaves": [_HASH]},
    "ListWithdrawn": {"leaves": [_HASH]},
    "ListOffers": {"offers": [{"rank": 1, "leaf_hash": _HASH, "number": 417, "wave": 1}]},
    "VerifyEncounter": {
        "status": "VERIFIED",
        "encounter": {
            "id": "1f3870be-274f-4c49-b3e3-1a0c6728957f",
            "initiator_id": MEMBERSHIP,
            "receiver_id": "a87ff679-a2f3-471d-9181-a67b7542122c",
            "encountered_at": _TIME,
            "verified_at": _TIME,
        },
    },
    "ListEncounters": {"encounters": [], "next_page_token": ""},
    "InitReforge": {"status": "PENDING", "reforge_id": REFORGE, "expires_at": _TIME},
    "ConfirmReforge": {"status": "CONFIRMED", "membership_id": MEMBERSHIP, "new_device_id": "phone-b"},
    "GetReforge": {
        "status": "PENDING",
        "reforge_id": REFORGE,
        "expires_at": _TIME,
        "decided_at": "",
        "undo_until": "",
    },
    "RefuseReforge": {"status": "REFUSED"},
    "UndoReforge": {"status": "UNDONE", "membership_id": MEMBERSHIP},
    "ChangeEmail": {"status": "PENDING", "effective_at": _TIME},
    "RefuseEmailChange": {"status": "REFUSED"},
    "ListMoves": {
        "moves": [
            {
                "reforge_id": REFORGE,
                "status": "PENDING",
                "proven": False,
                "old_device_id": "phone-a",
                "new_device_id": "phone-b",
                "asked_from": "203.0.113.9",
                "asked_at": _TIME,
                "expires_at": _TIME,
                "decided_at": "",
                "undo_until": "",
            }
        ],
        "email_changes": [],
    },
    "IssueGooglePass": {"save_url": "https://pay.google.com/gp/v/save/eyJhbGciOiJSUzI1NiJ9"},
    "ListUpdatedPasses": {"serialNumbers": [SERIAL], "lastUpdated": "42"},
    "GetHealth": {"status": "ok"},
}
