"""Only users who get the Apple pass get the Google link."""

from __future__ import annotations

import json

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pydantic import SecretStr

from services.wallet.settings import WalletSettings
from tests.integration.wallet.conftest import World, running_wallet
from tests.integration.wallet.wallet_client import WalletClient


async def test_the_owner_gets_a_link_with_the_code_of_his_pass(settings: WalletSettings, world: World) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    account = json.dumps({"client_email": "passes@vyris.example", "private_key": pem})
    configured = settings.model_copy(
        update={"google_wallet_issuer_id": "338", "google_wallet_service_account": SecretStr(account)}
    )
    membership = await world.mint()
    async with running_wallet(configured) as wallet:
        reply = await wallet.issue_google(membership.id, "user-1")
        apple = (await wallet.issue(membership.id, "user-1")).opened.document
        assert (await wallet.issue_google(membership.id, "user-2")).status == 401
        await world.revoke(membership)
        assert (await wallet.issue_google(membership.id, "user-1")).status == 401
    token = reply.body.decode().removeprefix("https://pay.google.com/gp/v/save/")
    claims = jwt.decode(token, key.public_key(), algorithms=["RS256"], audience="google")
    (card,) = claims["payload"]["genericObjects"]
    assert card["barcode"]["value"] == apple["barcodes"][0]["message"]


async def test_without_an_issuer_account_there_is_no_link(wallet: WalletClient, world: World) -> None:
    membership = await world.mint()
    assert (await wallet.issue_google(membership.id, "user-1")).status == 404
    assert (await wallet.issue_google(membership.id, "")).status == 422
