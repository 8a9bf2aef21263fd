"""What a newcomer does with curl, as functions over the gateway."""

from __future__ import annotations

import email
import email.policy
import re
import time
import uuid
from email.message import EmailMessage
from typing import Any

import httpx
from cryptography.hazmat.primitives.asymmetric import ec
from google.protobuf.json_format import ParseDict

from stack.local import Stack
from tests.plain_http import NO_TLS
from tests.signers.mint import proof_headers
from tests.stand_ins.reforge_service import METHODS, Device, text_of
from vyris.device_proof import build_proof, http_target
from vyris.reforge.v1 import reforge_pb2
from vyris.wallet.v1 import wallet_pb2

ISSUE_PASS = wallet_pb2.DESCRIPTOR.services_by_name["WalletService"].methods_by_name["IssuePass"]
MAIL_LIMIT_S = 15.0


class Journey:
    """One owner, one membership."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.http = httpx.Client(base_url=stack.gateway_url, timeout=15, verify=NO_TLS)
        self.base = f"http://localhost:{httpx.URL(stack.gateway_url).port}"
        self.user_id = f"ada-{uuid.uuid4().hex[:8]}"
        self.email = f"{self.user_id}@mail.example"
        self.membership_id = ""

    def mint(self, device: Device | None) -> None:
        body: dict[str, Any] = {
            "receipt_data": f"receipt-{uuid.uuid4()}",
            "user_id": self.user_id,
            "email": self.email,
        }
        if device is not None:
            body["device"] = {"device_id": device.name, "public_key": device.pem}
        answer = self.http.post("/mint", json=body, headers=proof_headers(body, device.key if device else None))
        assert answer.status_code == 201, answer.text
        self.membership_id = answer.json()["membership"]["id"]

    def init(self, new: Device, old: Device | None, *, proven: bool = False) -> httpx.Response:
        body = {
            "membership_id": self.membership_id,
            "user_id": self.user_id,
            "new_device_id": new.name,
            "new_public_key": new.pem,
            **({"old_device_id": old.name} if old else {}),
        }
        headers = {}
        if proven and old is not None:
            headers["DPoP"] = self.proof(old, METHODS["InitReforge"], reforge_pb2.InitReforgeRequest(), body)
        return self.http.post("/devices/reforge/init", json=body, headers=headers)

    def issue_pass(self, device: Device | None) -> httpx.Response:
        body = {"membership_id": self.membership_id, "user_id": self.user_id}
        headers = {"DPoP": self.proof(device, ISSUE_PASS, wallet_pb2.IssuePassRequest(), body)} if device else {}
        return self.http.post("/issue-pass", json=body, headers=headers)

    def proof(self, device: Device, method: Any, message: Any, body: dict[str, Any]) -> str:
        request = ParseDict(body, message)
        target = http_target(self.base, method, request)
        assert target is not None
        return build_proof(device.key, request, target)

    def mails(self, address: str = "") -> list[EmailMessage]:
        """Mails to an address, by default the owner's, oldest first."""
        found = [
            email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
            for path in sorted(self.stack.state.mail.glob("*.eml"))
        ]
        return [mail for mail in found if mail["To"] == (address or self.email)]

    def link(self, page: str, *, after: int = 0, to: str = "") -> str:
        """The newest link to a page in the mails to an address, by default the owner's, as a path with its token."""
        until = time.monotonic() + MAIL_LIMIT_S
        while time.monotonic() < until:
            mails = self.mails(to)
            for mail in reversed(mails[after:]):
                found = re.search(rf"{re.escape(self.base)}(/reforge/{page}\?token=\S+)", text_of(mail))
                if found:
                    return found[1]
            time.sleep(0.1)
        raise AssertionError(f"no link to {page}")

    def token(self, page: str, *, after: int = 0, to: str = "") -> str:
        return self.link(page, after=after, to=to).partition("token=")[2]


def new_device(name: str) -> Device:
    return Device(name, ec.generate_private_key(ec.SECP256R1()))
