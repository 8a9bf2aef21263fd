"""The tests' own App Store Server API: a real HTTP server with Apple's documented JSON.

Source: Apple, App Store Server API: "Generating JSON Web Tokens for API requests", "Get Notification History",
"Get Refund History".
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.signers.app_store import BUNDLE_ID, now_ms

KEY_ID, ISSUER_ID = "KEY1234567", "57246542-96fe-1a63-e053-0824d011072a"
PAGE = 20
DAY_MS = 86_400_000


@dataclass
class AppStoreApi:
    """The histories that it serves, and the requests that it got."""

    url: str = ""
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    # Time, kind, signed notification.
    notifications: list[tuple[int, str, str]] = field(default_factory=list)
    # Signed transactions, by a purchase of their customer.
    refunds: dict[str, list[str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    failures: list[int] = field(default_factory=list)  # statuses of the next answers
    endless: bool = False
    raw: bytes | None = None

    @property
    def pem(self) -> str:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()

    @property
    def environment(self) -> dict[str, str]:
        """Settings of a process that uses this server."""
        return {
            "APP_STORE_API_KEY": self.pem,
            "APP_STORE_API_KEY_ID": KEY_ID,
            "APP_STORE_API_ISSUER_ID": ISSUER_ID,
            "APP_STORE_API_URL": self.url,
        }

    def add(self, event: str, notification: str, at_ms: int | None = None) -> None:
        self.notifications.append((at_ms or now_ms() - 60_000, event, notification))

    def history(self, asked: dict[str, Any], token: str | None) -> dict[str, Any]:
        since, until = asked["startDate"], asked["endDate"]
        assert now_ms() - 180 * DAY_MS <= since < until
        listed = [
            {"signedPayload": signed, "sendAttempts": [{"attemptDate": at, "sendAttemptResult": "TIMED_OUT"}]}
            for at, event, signed in self.notifications
            if since <= at < until and event == asked["notificationType"]
        ]
        return self.page(listed, token, "notificationHistory", "paginationToken")

    def page(self, listed: list[Any], token: str | None, name: str, token_name: str) -> dict[str, Any]:
        begin = int(token or 0)
        end = begin + PAGE
        return {name: listed[begin:end], "hasMore": self.endless or end < len(listed), token_name: str(end)}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    api: AppStoreApi

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self._serve(lambda query: self.api.history(body, query.get("paginationToken", [None])[0]))

    def do_GET(self) -> None:
        purchase = unquote(urlsplit(self.path).path.rpartition("/")[2])
        if purchase not in self.api.refunds:
            self._error(404, 4040010, "Transaction id not found.")
            return
        self._serve(
            lambda query: self.api.page(
                self.api.refunds[purchase], query.get("revision", [None])[0], "signedTransactions", "revision"
            )
        )

    def _serve(self, answer: Any) -> None:
        self.api.asked.append(self.path)
        if not self._is_authorized():
            self._answer(401, b"")
        elif self.api.failures:
            self._error(self.api.failures.pop(0), 5000001, "An unknown error occurred. Please try again.")
        elif self.api.raw is not None:
            self._answer(200, self.api.raw)
        else:
            self._answer(200, json.dumps(answer(parse_qs(urlsplit(self.path).query))).encode())

    def _is_authorized(self) -> bool:
        token = self.headers.get("authorization", "").removeprefix("Bearer ")
        try:
            claims = jwt.decode(token, self.api.key.public_key(), algorithms=["ES256"], audience="appstoreconnect-v1")
        except jwt.InvalidTokenError:
            return False
        is_ours = claims["iss"] == ISSUER_ID and claims["bid"] == BUNDLE_ID
        return is_ours and jwt.get_unverified_header(token)["kid"] == KEY_ID

    def _error(self, status: int, code: int, message: str) -> None:
        self._answer(status, json.dumps({"errorCode": code, "errorMessage": message}).encode())

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextmanager
def app_store_api() -> Iterator[AppStoreApi]:
    """Run a server."""
    api = AppStoreApi()
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"api": api})) as server:
        api.url = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield api
        finally:
            server.shutdown()
            thread.join()
