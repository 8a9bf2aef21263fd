"""An honest draw's public documents, made from the formulas alone; and a server that serves them.

It shares no code with the service or with `verify.py`. The beacon's signature is a real one: round 1000 of quicknet.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import hmac
import json
import random
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.static_pages import StaticPage

PAGE = 1000
ENTRY_ID = "5f0a4a52-9c1f-4e4e-8f5c-0d8f4f4a7a11"
DROP = "night/2026"
SIGNER = "draws.example"
QUICKNET = {
    "chain_hash": "52db9ba70e0cc0f6eaf7803dd07447a1f5477735fd3f661792ba94600c84e971",
    "public_key": "83cf0f2896adee7eb8b5f01fcad3912212c437e0073e911fb90022d3e760183c8c4b450b6a0a6c3ac6a5776a2d106451"
    "0d1fec758c921cc22b0e17e63aaf4bcb5ed66304de9cf809bd274ca73bab4af5a6e9c76a4bc09e76eae8991ef5ece45a",
    "genesis_time": 1692803367,
    "period_s": 3,
}
ROUNDS = {
    43: "a96a579010b3d2261959104b29b5b46685b3a6b6f6aae7304ef72d44fe7d44e667bcdd500935d7deb58a2b4d89419ea6",
    1000: "b44679b9a59af2ec876b1a6b1ad52ea9b1615fc3982b19576350f93447cb1125e342b73a8dd2bacbe47e4b6b63ed5e39",
}
# Round 1000 was at 15:59:24.
TERMS = {
    "v": "vyris-draw-terms-v1",
    "tier": "night",
    "year": "2026",
    "capacity": 999,
    "entries_open": "2023-08-22T12:00:00.000Z",
    "entries_close": "2023-08-23T15:55:00.000Z",
    "closes_at": "2023-08-30T16:00:00.000Z",
    "offer_s": 86400,
    "challenge_s": 60,
    "limits": ["user"],
    **QUICKNET,
    "round": 1000,
}
PUBLISHED = "2023-08-23T15:55:02.000Z"

Document = dict[str, Any]


def sha256(message: bytes) -> bytes:
    return hashlib.sha256(message).digest()


def mac(seed: bytes, message: bytes) -> bytes:
    return hmac.new(seed, message, hashlib.sha256).digest()


def entry_of(number: int) -> Document:
    """The answer to the entry of entrant `number`, as far as it matters here."""
    salt, user = random.Random(number).randbytes(32), f"user-{number}"
    text = f"vyris-entry-v1\n{DROP}\n{base64.b64encode(sha256(salt + user.encode('ascii'))).decode()}\n"
    return {"salt": salt.hex(), "leaf_hash": sha256(b"\0" + text.encode()).hex(), "user_id": user}


def root_of(leaves: list[bytes]) -> bytes:
    """RFC 6962, section 2.1, recursive as in its text."""
    if not leaves:
        return sha256(b"")
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return sha256(b"\1" + root_of(leaves[:split]) + root_of(leaves[split:]))


def wave_of(rank: int, capacity: int) -> int:
    """The first ranks at once, then ten at a time at most."""
    return 1 if rank <= capacity else 2 + (rank - capacity - 1) // min(10, capacity)


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


class PublicDraw:
    """The documents by path, made in the order in which a service makes them; each part may be replaced before."""

    def __init__(
        self,
        entries: int = 10_000,
        *,
        terms: Document | None = None,
        signature: str = ROUNDS[1000],
        alternates: int = 25,
    ) -> None:
        self.private_key = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
        self.terms: Document = {**TERMS, **(terms or {}), "key": self.verifier_key()}
        self.signature = signature
        self.alternates = alternates
        self.leaves = sorted(bytes.fromhex(entry_of(number)["leaf_hash"]) for number in range(entries))
        self.withdrawn_list = sorted(entry_of(2_000_000 + number)["leaf_hash"] for number in range(3))
        self.publish()

    def verifier_key(self) -> str:
        raw = b"\1" + self.private_key.public_key().public_bytes_raw()
        identifier = sha256(SIGNER.encode() + b"\n" + raw)[:4]
        return f"{SIGNER}+{identifier.hex()}+{base64.b64encode(raw).decode()}"

    def checkpoint(self, published: str = PUBLISHED, round_number: int = 1000) -> str:
        """A checkpoint over the leaves as they are."""
        root, terms_hash = root_of(self.leaves), sha256(self.terms_text().encode())
        lines = [f"{SIGNER}/drops/{DROP}/entries", str(len(self.leaves)), base64.b64encode(root).decode()]
        text = "\n".join([*lines, f"terms {terms_hash.hex()}", f"round {round_number}", f"published {published}", ""])
        identifier = bytes.fromhex(self.verifier_key().split("+")[1])
        signed = base64.b64encode(identifier + self.private_key.sign(text.encode())).decode()
        return f"{text}\n— {SIGNER} {signed}\n"

    def promise(self, entry: Document) -> str:
        """The promise that the operator signs for an entry."""
        claims = {"drop": DROP, "iat": 1692700000, "leaf": entry["leaf_hash"], "v": "vyris-promise-v1"}
        claims["terms"] = sha256(self.terms_text().encode()).hex()
        header = {"alg": "EdDSA", "kid": self.verifier_key().split("+")[1], "typ": "vyris-promise+jwt"}
        signed = ".".join(_base64url(json.dumps(part).encode()) for part in (header, claims))
        return f"{signed}.{_base64url(self.private_key.sign(signed.encode()))}"

    def terms_text(self) -> str:
        return json.dumps(self.terms, sort_keys=True, separators=(",", ":"))

    def publish(self) -> None:
        """Compute everything that follows from terms, leaves and signature."""
        terms = self.terms_text()
        terms_hash, root, capacity = sha256(terms.encode()), root_of(self.leaves), self.terms["capacity"]
        count = struct.pack(">Q", len(self.leaves))
        seed = sha256(b"vyris-draw-v1\n" + terms_hash + root + count + bytes.fromhex(self.signature))
        ranked = sorted((mac(seed, leaf), leaf) for leaf in self.leaves)
        numbers = [
            n for _, n in sorted((mac(seed, b"number" + struct.pack(">I", n)), n) for n in range(1, capacity + 1))
        ]
        offered = min(len(ranked), capacity + self.alternates)
        self.seed, self.keys = seed, {leaf.hex(): key.hex() for key, leaf in ranked}
        offers = [
            # What came back from the first ranks goes to the alternates.
            {
                "rank": rank,
                "leaf_hash": leaf.hex(),
                "number": numbers[(rank - 1) % capacity],
                "wave": wave_of(rank, capacity),
            }
            for rank, (_, leaf) in enumerate(ranked[:offered], 1)
        ]
        self.document: Document = {
            "tier": "night",
            "year": "2026",
            "state": "DRAWN",
            "entries_open": self.terms["entries_open"],
            "entries_close": self.terms["entries_close"],
            "capacity": capacity,
            "terms": terms,
            "terms_hash": terms_hash.hex(),
            "beacon": {
                "chain_hash": self.terms["chain_hash"],
                "public_key": self.terms["public_key"],
                "round": self.terms["round"],
                "round_at": "2023-08-23T15:59:24.000Z",
            },
            "entries": len(self.leaves),
            "entries_root": root.hex(),
            "checkpoint": self.checkpoint(),
            "withdrawn": len(self.withdrawn_list),
            "refused": [],
            "closes_at": self.terms["closes_at"],
            "cancel_reason": "",
            "signature": self.signature,
            "seed": seed.hex(),
            "cutoff": ranked[offered - 1][0].hex() if offered else "",
            "offered_rank": offered,
            "offer_until": "2023-08-24T16:00:00.000Z",
            "poll_after_s": 60,
        }
        self.leaf_list = [leaf.hex() for leaf in self.leaves]
        self.offers = offers

    def copy(self) -> PublicDraw:
        """One that can be changed without changing this one."""
        other = copy.copy(self)
        other.document, other.leaf_list, other.offers = copy.deepcopy((self.document, self.leaf_list, self.offers))
        other.withdrawn_list = list(self.withdrawn_list)
        other.leaves, other.terms = list(self.leaves), dict(self.terms)
        return other

    def at(self, path: str) -> Document | None:
        """The document at a path of the server."""
        if path == f"/entries/{ENTRY_ID}":
            entry = entry_of(0)
            return {"entry": {"id": ENTRY_ID, "tier": "night", "year": "2026", "state": "ENTERED", **entry}}
        if path == f"/drops/{DROP}/draw":
            return self.document
        kind, _, page = path.removeprefix(f"/drops/{DROP}/draw/").partition("/")
        lists: dict[str, list[Any]] = {
            "leaves": self.leaf_list,
            "withdrawn": self.withdrawn_list,
            "offers": self.offers,
        }
        if kind not in lists or not page.isdecimal():
            return None
        items = lists[kind][int(page) * PAGE : (int(page) + 1) * PAGE]
        return {"offers" if kind == "offers" else "leaves": items} if items else None


class DrawServer:
    """Serves whichever draw is set."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.draw: PublicDraw | None = None
        self.page: StaticPage | None = None
        """What those get who accept HTML, as the gateway serves it."""
        self.instead: bytes | None = None
        """A whole answer, head and body, in place of every document."""


@contextmanager
def serving() -> Iterator[DrawServer]:
    """A server on a free port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if "text/html" in self.headers.get("Accept", "") and served.page is not None:
                self._answer(served.page.body, served.page.headers)
                return
            if served.instead is not None:
                self.wfile.write(served.instead)
                return
            document = served.draw.at(self.path) if served.draw else None
            self._answer(
                json.dumps(document).encode(), {"content-type": "application/json"}, 404 if document is None else 200
            )

        def _answer(self, body: bytes, headers: dict[str, str], status: int = 200) -> None:
            self.send_response(status)
            for name, value in (headers | {"content-length": str(len(body))}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        served = DrawServer(f"http://127.0.0.1:{server.server_port}/drops/{DROP}/draw")
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield served
        server.shutdown()
        thread.join()
