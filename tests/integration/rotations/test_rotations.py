"""Each key and certificate is replaced as `docs/operations.md` says (Replacing keys), and no request is refused.

Processes are restarted one after the other. So in each step two kinds of processes run: of the step before, and of this
step. Both must accept what was made in this step and what is left of the step before.
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
import ssl
import time
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from cryptography import x509

from services.encounter.authority_keys import authority_keys
from services.encounter.encounter_token import TimeLimits, prove, read_encounter
from services.identity.jose import PublicKey, TokenRefused
from services.identity.jwks import PublishedKeys, p256_key
from services.identity.jwks.published_keys import READ_AGAIN_S, REFRESH_S
from services.identity.user_tokens import UserTokens
from services.identity.user_tokens.issuer_keys import issuer_key
from services.mint.receipts.merchant import MerchantVerifier
from services.mint.receipts.merchant_signatures import MerchantSignatures
from services.mint.receipts.verified import ReceiptClaim
from services.reforge.tokens import Purpose, TokenKey, digest
from services.wallet.development_certificates import development_credentials
from services.wallet.inspection import judge_signature
from services.wallet.opened_pass import open_pass
from services.wallet.package import PassPress
from services.wallet.pass_json import PassFacts, PassIssuer
from services.wallet.pass_tokens import PassTokens
from tests.integration.gateway.peers import make_settings, running_gateway, running_services
from tests.signers.encounter import Signer
from tests.signers.merchant import ISSUER, MerchantSigner
from tests.stand_ins.authority import Authority
from tests.stand_ins.reforge_service import Device, Process, token_in, world
from vyris.errors import InvalidReceipt, Unauthorized
from vyris.reforge.v1 import reforge_pb2_grpc

PASS_TYPE, TEAM = "pass.app.vyris.membership", "VYRISDEV01"


async def rehearse(
    steps: list[tuple[Any, Callable[[], Any]]], accepts: Callable[[Any, Any], Awaitable[None]]
) -> tuple[Any, Any]:
    """Go through `steps`: what a process knows, and what makes what it must accept, or else `accepts` raises.

    Return the last knowledge, and what the first step made.
    """
    before, remaining = steps[0][0], [steps[0][1]()]
    first = remaining[0]
    for known, make in steps:
        made = make()
        for process in (before, known):
            for one in (*remaining, made):
                await accepts(process, one)
        before, remaining = known, [made]
    return before, first


async def test_encounter_keys() -> None:
    members = (str(uuid.uuid4()), str(uuid.uuid4()))
    old, new = Signer(*members), Signer(*members)
    limits = TimeLimits(max_age_s=300, max_lifetime_s=3600)

    async def accepts(pem: str, token: str) -> None:
        read, meeting = read_encounter(token, limits)
        prove(read, meeting, authority_keys(pem).candidates(read.kid))

    alone, both, after = old.pem.decode(), (old.pem + new.pem).decode(), new.pem.decode()
    steps = [(alone, old.token), (both, old.token), (both, new.token), (after, new.token)]
    last, first = await rehearse(steps, accepts)
    with pytest.raises(TokenRefused):
        await accepts(last, first)


async def _with_published_keys(
    tmp_path: Path, make: Callable[[MerchantSigner], str], read_key: Any, accepts: Any
) -> None:
    """Rotate a key that another party publishes, under one process that reads the set every few minutes."""
    now_s = 0.0
    signer = MerchantSigner()
    file = signer.write_jwks(tmp_path)
    keys = PublishedKeys(str(file), "the signer", read_key, lambda: now_s)
    try:
        await accepts(keys, make(signer))
        first = make(signer)
        signer.rotate()
        signer.write_jwks(tmp_path)  # published, and not used yet
        signer.kid = "key-1"
        await accepts(keys, make(signer))
        signer.kid = "key-2"
        now_s += READ_AGAIN_S
        await accepts(keys, make(signer))  # used before the process has read the set again
        await accepts(keys, first)
        del signer.keys["key-1"]
        signer.write_jwks(tmp_path)
        now_s += REFRESH_S
        keys.refresh_if_due()
        assert keys._reading is not None
        await keys._reading
        await accepts(keys, make(signer))
        with pytest.raises((Unauthorized, InvalidReceipt)):
            await accepts(keys, first)
    finally:
        await keys.aclose()


async def test_keys_of_the_identity_provider(tmp_path: Path) -> None:
    async def accepts(keys: PublishedKeys[Any], token: str) -> None:
        assert await UserTokens(keys, ISSUER, "").subject([f"Bearer {token}"]) == "ada"

    def make(provider: MerchantSigner) -> str:
        return provider.sign({"iss": ISSUER, "sub": "ada", "exp": int(time.time()) + 600})

    await _with_published_keys(tmp_path, make, issuer_key, accepts)


async def test_keys_of_the_merchant(tmp_path: Path) -> None:
    """What has minted is answered for ever (`tests/integration/mint/receipts/test_past_receipts.py`)."""

    async def accepts(keys: PublishedKeys[PublicKey], receipt: str) -> None:
        await MerchantVerifier(MerchantSignatures(keys, ISSUER, "")).verify(ReceiptClaim(receipt, "ivy", None))

    await _with_published_keys(tmp_path, lambda shop: shop.receipt("ivy"), p256_key, accepts)


async def test_key_of_the_tokens_in_passes() -> None:
    serial, old, new = uuid.uuid4(), secrets.token_hex(32), secrets.token_hex(32)
    keys = [PassTokens(old), PassTokens(old, new), PassTokens(new, old)]

    async def accepts(key: PassTokens, token: str) -> None:
        assert key.admits(f"ApplePass {token}", serial)

    steps = [(key, lambda key=key: key.token(serial)) for key in keys]
    last, first = await rehearse(steps, accepts)
    await accepts(last, first)  # a pass that no phone has updated since
    assert not PassTokens(new).admits(f"ApplePass {first}", serial)


async def test_key_of_the_tokens_in_links() -> None:
    request, old, new = uuid.uuid4(), secrets.token_bytes(32), secrets.token_bytes(32)

    async def accepts(key: TokenKey, made: tuple[str, str]) -> None:
        """A process writes the mail and judges the code of a request that another one took."""
        token, code = made
        assert key.stored_token(Purpose.MOVE, request, [digest(token)]) == token
        assert key.is_code(request, code)

    keys = [TokenKey(old), TokenKey(old, new), TokenKey(new, old), TokenKey(new)]
    steps = [(key, lambda key=key: (key.token(Purpose.MOVE, request), key.code(request))) for key in keys]
    last, first = await rehearse(steps, accepts)
    assert not last.is_code(request, first[1])


async def test_links_and_codes_of_the_previous_key_work_in_a_process_with_the_next(
    database_url: str, tmp_path: Path
) -> None:
    old, new = secrets.token_hex(32), secrets.token_hex(32)
    phone, next_phone = Device("phone"), Device("next phone")
    settings = {"REFORGE_CODE": "on", "REFORGE_TOKEN_KEY": old, "REFORGE_TOKEN_KEY_SECOND": new}
    async with world(database_url, tmp_path, **settings) as before:
        member = await before.member(phone)
        before.mailbox.close()  # its mail is not sent yet
        begun = await before.init(member, next_phone, old=phone.name)
        before.process.kill()
        settings |= {"REFORGE_TOKEN_KEY": new, "REFORGE_TOKEN_KEY_SECOND": old}
        after = Process(database_url, before.mailbox.port, tmp_path, **settings)
        try:
            before.mailbox.open()
            await after.ready()
            async with grpc.aio.insecure_channel(f"127.0.0.1:{after.port}") as channel:
                before.stub = reforge_pb2_grpc.ReforgeServiceStub(channel)
                mail = await before.mail_with(member, "confirm")
                await before.confirm(token_in(mail), begun.confirmation_code)
                # Its digest was stored under the old key.
                notice = await before.mail_with(member, "undo")
                await before.call_undo(token_in(notice, "undo"))
        finally:
            after.stop()
        assert await before.active(member) == [phone.name]


def test_certificate_of_the_pass_type(tmp_path: Path) -> None:
    facts = PassFacts(str(uuid.uuid4()), "kq3XbW0u6dR8mYt1vN5sLw", "genesis", "2025", 42, datetime.now(UTC))
    opened = []
    for name in ("old", "new"):
        credentials = development_credentials(tmp_path / name, pass_type_identifier=PASS_TYPE, team_identifier=TEAM)
        opened.append(open_pass(PassPress(PassIssuer(PASS_TYPE, TEAM), credentials).press(facts, "t" * 43)))
    old, new = opened
    # A phone updates a pass if type, team and serial are the same; the old file stays valid.
    assert old.document == new.document
    assert old.problems() == new.problems() == []
    if shutil.which("openssl"):
        assert judge_signature(old, tmp_path / "old" / "pass_root.pem").holds
        assert judge_signature(new, tmp_path / "new" / "pass_root.pem").holds
        assert not judge_signature(new, tmp_path / "old" / "pass_root.pem").holds


async def test_certificate_of_the_gateway(tmp_path: Path) -> None:
    """`test_tls.py`: the authority of the services. `test_grpc_health_probe.py`: the certificates of the services."""
    authority = Authority(tmp_path)
    cert, key = authority.issue("gateway", "localhost")
    context = ssl.create_default_context(cafile=str(authority.ca_file))
    statuses: set[int] = set()
    async with running_services() as services:
        settings = make_settings(tmp_path, services, gateway_tls_cert_file=cert, gateway_tls_key_file=key)
        async with running_gateway(tmp_path, settings) as gateway:

            async def call_until(is_over: asyncio.Event) -> None:
                async with httpx.AsyncClient(base_url=gateway.url, verify=context, http2=True) as kept:
                    while not is_over.is_set():
                        statuses.add((await kept.post("/mint", json={})).status_code)
                        async with httpx.AsyncClient(base_url=gateway.url, verify=context) as opened:
                            statuses.add((await opened.post("/mint", json={})).status_code)

            async def serial() -> int:
                pem = await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", settings.gateway_port))
                return x509.load_pem_x509_certificate(pem.encode()).serial_number

            is_over = asyncio.Event()
            calling = asyncio.create_task(call_until(is_over))
            before = await serial()
            authority.issue("gateway", "localhost")
            async with asyncio.timeout(10):
                while await serial() == before:
                    await asyncio.sleep(0.05)
            is_over.set()
            await calling
    assert statuses == {201}
