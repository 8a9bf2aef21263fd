"""The Google link carries the same membership, signed by the configured account."""

from __future__ import annotations

import json
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from services.server.runtime.settings import WrongSetting
from services.wallet.google_wallet import SAVE_URL, google_issuer
from services.wallet.pass_json import PassFacts
from services.wallet.settings import WalletSettings

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
ACCOUNT = json.dumps(
    {
        "type": "service_account",
        "client_email": "passes@vyris.example",
        "private_key": KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
    }
)


def settings(**values: str) -> WalletSettings:
    return WalletSettings(database_url="postgresql://nobody@127.0.0.1:1/none", _env_file=None, **values)  # type: ignore[arg-type]


@pytest.mark.parametrize("as_file", [False, True])
def test_the_link_is_a_signed_card_of_the_membership(facts: PassFacts, tmp_path: Path, as_file: bool) -> None:
    account = ACCOUNT
    if as_file:
        (tmp_path / "account.json").write_text(ACCOUNT)
        account = str(tmp_path / "account.json")
    issuer = google_issuer(
        settings(google_wallet_issuer_id="3388000000012345678", google_wallet_service_account=account)
    )
    assert issuer is not None
    url = issuer.save_url(facts)
    assert url.startswith(SAVE_URL)
    assert len(url) < 1_800, "browsers cut longer links"
    token = url.removeprefix(SAVE_URL)
    assert jwt.get_unverified_header(token)["alg"] == "RS256"
    claims = jwt.decode(token, KEY.public_key(), algorithms=["RS256"], audience="google")
    assert claims["typ"] == "savetowallet"
    assert claims["iss"] == "passes@vyris.example"
    (card,) = claims["payload"]["genericObjects"]
    assert card["id"] == f"3388000000012345678.{facts.public_id}"
    assert card["classId"] == claims["payload"]["genericClasses"][0]["id"]
    assert card["barcode"]["value"] == facts.public_id
    assert card["textModulesData"][0]["body"] == "42"
    assert url == issuer.save_url(facts)


def test_without_an_account_there_is_no_issuer() -> None:
    assert google_issuer(settings()) is None


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"google_wallet_issuer_id": "1"}, "GOOGLE_WALLET_SERVICE_ACCOUNT"),
        ({"google_wallet_service_account": ACCOUNT}, "GOOGLE_WALLET_ISSUER_ID"),
        ({"google_wallet_issuer_id": "1", "google_wallet_service_account": "{}"}, "no service account key"),
        ({"google_wallet_issuer_id": "1", "google_wallet_service_account": "/nowhere.json"}, "neither JSON nor a file"),
    ],
)
def test_half_an_account_is_refused_at_start(values: dict[str, str], name: str) -> None:
    with pytest.raises(WrongSetting, match=name):
        google_issuer(settings(**values))
