"""With an identity provider configured, a user_id is believed with a token alone: JSON and gRPC alike, every call."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import asyncpg
import grpc
import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.json_format import ParseDict
from google.protobuf.message_factory import GetMessageClass

from admin.drops import NewDrop, create_drop
from stack.local import Stack
from tests.shell import chosen_settings
from tests.signers.merchant import MerchantSigner
from vyris.client import Client
from vyris.device_keys import public_jwk
from vyris.encounter.v1 import encounter_pb2
from vyris.errors import Unauthorized
from vyris.holds.v1 import holds_pb2
from vyris.mint.v1 import mint_pb2
from vyris.reforge.v1 import reforge_pb2
from vyris.wallet.v1 import wallet_pb2

ISSUER = "https://id.test"
UNKNOWN = str(uuid4())
PATHS = {
    "Mint": "/mint",
    "IssuePass": "/issue-pass",
    "TakeHold": "/drops/bearer/2025/holds",
    "ReleaseHold": "/holds/release",
    "ExtendHold": "/holds/extend",
    "InitReforge": "/devices/reforge/init",
}
# JSON bodies by method; every method of the suite whose request names a user must be here.
BODIES = {
    "Mint": {"receipt_data": "r"},
    "IssuePass": {"membership_id": ""},
    "IssueGooglePass": {"membership_id": ""},
    "TakeHold": {"tier": "bearer", "year": "2025"},
    "ReleaseHold": {"hold_id": ""},
    "ExtendHold": {"hold_id": ""},
    "InitReforge": {"membership_id": "", "new_device_id": "phone", "new_public_key": ""},
    "ChangeEmail": {"membership_id": "", "email": "new@example.org"},
}


@dataclass
class Suite:
    stack: Stack
    provider: MerchantSigner
    membership_id: str = ""
    hold_id: str = ""

    def token(self, user: str, **changes: object) -> str:
        return self.provider.sign({"iss": ISSUER, "sub": user, "exp": int(time.time()) + 600, **changes})

    def post(self, path: str, body: dict[str, object], token: str | None) -> httpx.Response:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        url = f"http://localhost:{self.stack.settings.gateway_port}{path}"
        return httpx.post(url, json=body, headers=headers, timeout=30)

    def grpc_code(self, method: MethodDescriptor, body: dict[str, object], token: str | None) -> grpc.StatusCode:
        request = ParseDict(body, GetMessageClass(method.input_type)())
        path = f"/{method.containing_service.full_name}/{method.name}"
        metadata = [("authorization", f"Bearer {token}")] if token else []
        with grpc.insecure_channel(f"localhost:{self.stack.settings.gateway_grpc_port}") as channel:
            call = channel.unary_unary(path, request_serializer=lambda message: message.SerializeToString())
            try:
                call(request, metadata=metadata, timeout=30)
            except grpc.RpcError as error:
                return error.code()
        return grpc.StatusCode.OK

    def body(self, method: str, user: str, **changes: object) -> dict[str, object]:
        body: dict[str, object] = {**BODIES[method], "user_id": user}
        if "membership_id" in body:
            body["membership_id"] = self.membership_id
        if "hold_id" in body:
            body["hold_id"] = self.hold_id
        if "new_public_key" in body:
            body["new_public_key"] = json.dumps(public_jwk(next(iter(MerchantSigner().keys.values())).public_key()))
        return {**body, **changes}


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suite]:
    provider = MerchantSigner()
    jwks = provider.write_jwks(tmp_path_factory.mktemp("provider"))
    state: Path = tmp_path_factory.mktemp("stack") / "state"
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    environment = {
        **chosen_settings(),
        "USER_JWT_ISSUER": ISSUER,
        "USER_JWT_JWKS": str(jwks),
        "GOOGLE_WALLET_ISSUER_ID": "338",
        "GOOGLE_WALLET_SERVICE_ACCOUNT": json.dumps({"client_email": "passes@vyris.example", "private_key": pem}),
    }
    with Stack.isolated(state, environment=environment) as running:
        made = Suite(running, provider)
        minted = made.post("/mint", made.body("Mint", "ada", receipt_data="ada's"), made.token("ada"))
        assert minted.status_code == 201, minted.text
        made.membership_id = minted.json()["membership"]["id"]
        asyncio.run(create_hold_drop(running.database_url))
        held = made.post("/drops/bearer/2025/holds", {"user_id": "ada"}, made.token("ada"))
        assert held.status_code == 201, held.text
        made.hold_id = held.json()["hold"]["id"]
        yield made


async def create_hold_drop(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    async with connection.transaction():
        await create_drop(connection, NewDrop("bearer", "2025", 5, sale="hold"))
    await connection.close()


def naming_a_user() -> list[MethodDescriptor]:
    services = [
        module.DESCRIPTOR.services_by_name[name]
        for module, name in (
            (mint_pb2, "MintService"),
            (holds_pb2, "HoldService"),
            (encounter_pb2, "EncounterService"),
            (wallet_pb2, "WalletService"),
            (reforge_pb2, "ReforgeService"),
        )
    ]
    return [m for service in services for m in service.methods if "user_id" in m.input_type.fields_by_name]


@pytest.mark.parametrize("method", naming_a_user(), ids=lambda method: method.name)
def test_every_call_that_names_a_user_needs_his_token(suite: Suite, method: MethodDescriptor) -> None:
    body = suite.body(method.name, "ada")
    expired = suite.token("ada", exp=int(time.time()) - 3_600)
    for token in (None, "garbage", suite.token("eve"), MerchantSigner().sign({"iss": ISSUER, "sub": "ada"}), expired):
        assert suite.grpc_code(method, body, token) is grpc.StatusCode.UNAUTHENTICATED
        if method.name in PATHS:
            answer = suite.post(PATHS[method.name], body, token)
            assert (answer.status_code, answer.json()["error"]) == (401, "UNAUTHORIZED")


def test_with_it_the_calls_work_as_without_a_provider(suite: Suite) -> None:
    assert suite.post("/issue-pass", suite.body("IssuePass", "ada"), suite.token("ada")).status_code == 200
    assert suite.post("/mint", suite.body("Mint", "eve"), suite.token("eve")).status_code == 201
    # Another's token does not open a membership, nor does naming its owner.
    assert suite.post("/issue-pass", suite.body("IssuePass", "eve"), suite.token("eve")).status_code == 401
    assert suite.post("/issue-pass", suite.body("IssuePass", "ada"), suite.token("eve")).status_code == 401


@pytest.mark.parametrize("path", ["/issue-pass", "/devices/reforge/init"])
def test_shape_and_existence_come_before_the_token(suite: Suite, path: str) -> None:
    method = "IssuePass" if path == "/issue-pass" else "InitReforge"
    assert suite.post(path, suite.body(method, ""), None).status_code == 422
    assert suite.post(path, suite.body(method, "ada", membership_id=UNKNOWN), None).status_code == 404


def test_a_mint_is_checked_for_its_shape_and_its_drop_first(suite: Suite) -> None:
    assert suite.post("/mint", suite.body("Mint", "ada", receipt_data=""), None).status_code == 422
    assert suite.post("/mint", suite.body("Mint", "ada", tier="nowhere", year="2025"), None).status_code == 404


def test_a_refused_mint_writes_nothing(suite: Suite) -> None:
    body = suite.body("Mint", "ada", receipt_data="stolen")
    assert suite.post("/mint", body, suite.token("eve")).status_code == 401
    answer = suite.post("/mint", {**body, "user_id": "eve"}, suite.token("eve"))
    assert (answer.status_code, answer.json()["replayed"]) == (201, False)


def test_the_client_sends_the_token_with_the_calls_that_name_a_user_and_no_other(suite: Suite) -> None:
    target = f"localhost:{suite.stack.settings.gateway_grpc_port}"
    handed_out: list[str] = []

    def bearer() -> str:
        handed_out.append(suite.token("ada"))
        return handed_out[-1]

    with Client(target, bearer=bearer) as ada:
        assert ada.mint("the client's", "ada", drop=("genesis", "2025")).membership.id
        assert ada.issue_pass(suite.membership_id, "ada").package
        assert len(handed_out) == 2
        assert ada.get_drop("genesis", "2025").capacity > 0
        assert len(handed_out) == 2
    with Client(target, bearer=suite.token("eve")) as eve, pytest.raises(Unauthorized):
        eve.issue_pass(suite.membership_id, "ada")
    with Client(target) as nobody, pytest.raises(Unauthorized):
        nobody.issue_pass(suite.membership_id, "ada")
