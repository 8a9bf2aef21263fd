#!/usr/bin/env python3
"""Check a draw from outside, with nothing but its public documents.

    pip install pyblst          (or py-ecc: slower, pure Python)
    python3 verify.py https://shop.example/drops/night/2026/draw

The script reads the draw's document, its leaf hashes and its offers, all by GET, and computes everything again: terms,
tree, signatures, seed, order, numbers, offers, cutoff. It needs Python 3.11 and one of the two packages, and imports
nothing else. It says in plain words what it checked. Exit code: 0 all holds, 1 something does not, 2 wrong usage, or
the documents cannot be read.

docs/check-a-draw.md of the project has the formats and the formulas: with them you can write your own script instead of
trusting this one.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import hashlib
import hmac
import itertools
import json
import re
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

# drand's quicknet: https://api.drand.sh/52db9ba70e0cc0f6eaf7803dd07447a1f5477735fd3f661792ba94600c84e971/info
QUICKNET_CHAIN = "52db9ba70e0cc0f6eaf7803dd07447a1f5477735fd3f661792ba94600c84e971"
QUICKNET_KEY = (
    "83cf0f2896adee7eb8b5f01fcad3912212c437e0073e911fb90022d3e760183c8c4b450b6a0a6c3ac6a5776a2d106451"
    "0d1fec758c921cc22b0e17e63aaf4bcb5ed66304de9cf809bd274ca73bab4af5a6e9c76a4bc09e76eae8991ef5ece45a"
)
QUICKNET_GENESIS_S = 1_692_803_367
QUICKNET_PERIOD_S = 3
BLS_DOMAIN = b"BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_NUL_"
G2_GENERATOR = (
    "93e02b6052719f607dacd3a088274f65596bd0d09920b61ab5da61bbdc7f5049334cf11213945d57e5ac7d055d042b7e"
    "024aa2b2f08f0a91260805272dc51051c6e47ad4fa403b02b4510b647ae3d1770bac0326a805bbefd48056c8c121bdb8"
)
INFINITY_BIT = 0x40

HASH_BYTES = 32
LEAST_WINDOW = timedelta(hours=24)
LEAST_CHALLENGE_S = 60
PAGE_ENTRIES = 1000
CHECKPOINT_LINES = 6
DOCUMENT_LIMIT_BYTES = 1 << 18
ENTRIES_LIMIT = 5_000_000
CAPACITY_LIMIT = 1_000_000
ROUND_LIMIT = (1 << 31) - 1
REFUSED_LIMIT = 16
READ_TIMEOUT_S = 20.0
CHUNK_BYTES = 1 << 16


class DoesNotHold(Exception):
    """Something in the draw is not as it must be."""


class Unusable(Exception):
    """Nothing can be said of the draw: wrong usage, or a document that cannot be read."""


def require(holds: bool, otherwise: str) -> None:
    """Raise `DoesNotHold` unless `holds`."""
    if not holds:
        raise DoesNotHold(otherwise)


# ---- Reading --------------------------------------------------------------------------------------------------------


class NoRedirects(urllib.request.HTTPRedirectHandler):
    """Another address is another party's answer."""

    def redirect_request(self, *_: Any) -> None:
        """Refuse."""


class Reader:
    """GETs below one address, each bounded in size, all together bounded in time."""

    def __init__(self, address: str, time_limit_s: float) -> None:
        self._address = address
        self._deadline = time.monotonic() + time_limit_s
        self._opener = urllib.request.build_opener(NoRedirects)

    def read(self, path: str = "") -> dict[str, Any]:
        """The JSON object at `path`. Raises `Unusable`."""
        url = self._address + path
        if time.monotonic() > self._deadline:
            raise Unusable("reading took too long; --time-limit allows more")
        request = urllib.request.Request(url, headers={"Accept": "application/json"})  # noqa: S310  http and https alone
        try:
            with self._opener.open(request, timeout=READ_TIMEOUT_S) as answer:
                text = self._bounded(answer, url)
        except urllib.error.HTTPError as problem:
            raise Unusable(f"{url} answers with status {problem.code}") from None
        except (OSError, ValueError) as problem:
            raise Unusable(f"{url} cannot be read: {problem}") from None
        try:
            value = json.loads(text, object_pairs_hook=without_duplicates)
        except (ValueError, RecursionError):
            raise Unusable(f"{url} is not JSON") from None
        if not isinstance(value, dict):
            raise Unusable(f"{url} is not a JSON object")
        return value

    def _bounded(self, answer: Any, url: str) -> bytes:
        body = b""
        while chunk := answer.read1(CHUNK_BYTES):
            body += chunk
            if len(body) > DOCUMENT_LIMIT_BYTES:
                raise Unusable(f"{url} is larger than {DOCUMENT_LIMIT_BYTES} bytes")
            if time.monotonic() > self._deadline:
                raise Unusable("reading took too long; --time-limit allows more")
        return body

    def hashes(self, name: str, count: int) -> list[bytes]:
        """The `count` hashes of a paged list. Raises `DoesNotHold` unless they are ascending and distinct."""
        hashes: list[bytes] = []
        for page in range((count + PAGE_ENTRIES - 1) // PAGE_ENTRIES):
            listed = value_of(self.read(f"/{name}/{page}"), "leaves", list)
            require(len(listed) == min(PAGE_ENTRIES, count - len(hashes)), f"page {page} of {name} has not its length")
            hashes += [bytes_of({"leaf": leaf}, "leaf") for leaf in listed]
        unordered = any(left >= right for left, right in itertools.pairwise(hashes))
        require(not unordered, f"the {name} are not in ascending order, or one is listed twice")
        return hashes


def without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object in which no name occurs twice: two readers must not read two things."""
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("a name occurs twice")
    return value


# ---- Ed25519 (RFC 8032, section 5.1) --------------------------------------------------------------------------------

P = 2**255 - 19
GROUP_ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
ROOT_OF_MINUS_ONE = pow(2, (P - 1) // 4, P)
Point = tuple[int, int, int, int]


def added(left: Point, right: Point) -> Point:
    """The sum of two points in extended coordinates."""
    a = (left[1] - left[0]) * (right[1] - right[0])
    b = (left[1] + left[0]) * (right[1] + right[0])
    c = 2 * left[3] * right[3] * D
    d = 2 * left[2] * right[2]
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def multiplied(times: int, point: Point) -> Point:
    """`point` added to itself `times` times. Slow and not in constant time: there is no secret here."""
    total: Point = (0, 1, 1, 0)
    while times:
        if times & 1:
            total = added(total, point)
        point, times = added(point, point), times >> 1
    return total


def point_of(raw: bytes) -> Point:
    """The point that 32 bytes stand for. Raises `ValueError`."""
    number = int.from_bytes(raw, "little")
    y, odd = number & ((1 << 255) - 1), number >> 255
    if len(raw) != HASH_BYTES or y >= P:
        raise ValueError("not a point")
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * ROOT_OF_MINUS_ONE % P
    if (x * x - square) % P or (x == 0 and odd):
        raise ValueError("not a point")
    if x & 1 != odd:
        x = P - x
    return x, y, 1, x * y % P


BASE = point_of((4 * pow(5, -1, P) % P).to_bytes(32, "little"))


def is_ed25519_signature(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether `signature` (64 bytes) is that of `public_key` (32 bytes) over `message`."""
    try:
        key, commitment = point_of(public_key), point_of(signature[:32])
    except ValueError:
        return False
    answer = int.from_bytes(signature[32:], "little")
    if len(signature) != 64 or answer >= GROUP_ORDER:
        return False
    challenge = int.from_bytes(hashlib.sha512(signature[:32] + public_key + message).digest(), "little") % GROUP_ORDER
    left, right = multiplied(answer, BASE), added(commitment, multiplied(challenge, key))
    return (left[0] * right[2] - right[0] * left[2]) % P == 0 and (left[1] * right[2] - right[1] * left[2]) % P == 0


# ---- BLS12-381, signatures in G1 (drand's scheme bls-unchained-g1-rfc9380) ------------------------------------------


def is_beacon_signature(public_key: bytes, round_number: int, signature: bytes) -> bool:
    """Whether `signature` (48 bytes) is that of the beacon (a key of 96 bytes) for the round."""
    message = hashlib.sha256(round_number.to_bytes(8, "big")).digest()
    if len(signature) != 48 or len(public_key) != 96 or (signature[0] | public_key[0]) & INFINITY_BIT:
        return False
    try:
        import pyblst
    except ImportError:
        return is_beacon_signature_slowly(public_key, message, signature)
    try:
        signed = pyblst.BlstP1Element.uncompress(signature)  # refuses points outside the group
        key = pyblst.BlstP2Element.uncompress(public_key)
    except ValueError:
        return False
    generator = pyblst.BlstP2Element.uncompress(bytes.fromhex(G2_GENERATOR))
    hashed = pyblst.BlstP1Element.hash_to_group(message, BLS_DOMAIN)
    return bool(pyblst.final_verify(pyblst.miller_loop(signed, generator), pyblst.miller_loop(hashed, key)))


def is_beacon_signature_slowly(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """The same with `py-ecc`, in a second or so."""
    limit = sys.getrecursionlimit()
    try:
        from py_ecc.bls.hash_to_curve import hash_to_G1
        from py_ecc.bls.point_compression import decompress_G1, decompress_G2
        from py_ecc.optimized_bls12_381 import G2, curve_order, is_inf, multiply, pairing
    except ImportError as problem:
        raise Unusable(f"install `pyblst` or `py-ecc`, which checks the beacon's signature ({problem})") from None
    try:
        sys.setrecursionlimit(100 * limit)
        signed = decompress_G1(int.from_bytes(signature, "big"))
        key = decompress_G2((int.from_bytes(public_key[:48], "big"), int.from_bytes(public_key[48:], "big")))
        if not is_inf(multiply(signed, curve_order)) or not is_inf(multiply(key, curve_order)):
            return False
        return bool(pairing(G2, signed) == pairing(key, hash_to_G1(message, BLS_DOMAIN, hashlib.sha256)))
    except ValueError:
        return False
    finally:
        # `py-ecc` needs a deep recursion, and raises the limit when it is imported. With such a limit, JSON with very
        # many brackets would crash Python.
        sys.setrecursionlimit(limit)


# ---- Formulas -------------------------------------------------------------------------------------------------------


def sha256(message: bytes) -> bytes:
    """SHA-256."""
    return hashlib.sha256(message).digest()


def keyed(seed: bytes, message: bytes) -> bytes:
    """HMAC-SHA-256."""
    return hmac.digest(seed, message, "sha256")


def leaf_hash_of(drop: str, salt: bytes, user_id: str) -> bytes:
    """The leaf hash of one person's entry."""
    commitment = base64.b64encode(sha256(salt + user_id.encode())).decode()
    return sha256(b"\x00" + f"vyris-entry-v1\n{drop}\n{commitment}\n".encode())


def tree_root(leaves: Sequence[bytes]) -> bytes:
    """The Merkle tree hash of RFC 6962, section 2.1, over leaves that are hashed already."""
    if not leaves:
        return sha256(b"")
    level = list(leaves)
    while len(level) > 1:
        odd = [level.pop()] if len(level) % 2 else []
        level = [sha256(b"\x01" + left + right) for left, right in zip(level[::2], level[1::2], strict=True)] + odd
    return level[0]


def seed_of(terms_hash: bytes, root: bytes, entries: int, beacon_signature: bytes) -> bytes:
    """What decides the draw."""
    return sha256(b"vyris-draw-v1\n" + terms_hash + root + entries.to_bytes(8, "big") + beacon_signature)


def order_of(seed: bytes, leaves: Sequence[bytes]) -> list[bytes]:
    """The leaf hashes by rank."""
    return sorted(leaves, key=lambda leaf: keyed(seed, leaf))


def numbers_of(seed: bytes, capacity: int) -> list[int]:
    """The numbers 1 to `capacity` by the rank that gets them."""
    return sorted(range(1, capacity + 1), key=lambda number: keyed(seed, b"number" + number.to_bytes(4, "big")))


# ---- Values of the documents ----------------------------------------------------------------------------------------


def value_of(document: dict[str, Any], name: str, kind: type) -> Any:
    """A field of the given type. Raises `DoesNotHold`."""
    value = document.get(name)
    require(isinstance(value, kind) and not (kind is int and isinstance(value, bool)), f"the field {name} is missing")
    return value


def bytes_of(document: dict[str, Any], name: str, length: int = HASH_BYTES) -> bytes:
    """A field of lower-case hexadecimal digits, `length` bytes. Raises `DoesNotHold`."""
    text = value_of(document, name, str)
    require(bool(re.fullmatch(f"[0-9a-f]{{{2 * length}}}", text)), f"the field {name} is not {length} bytes in hex")
    return bytes.fromhex(text)


def count_of(document: dict[str, Any], name: str, largest: int, smallest: int = 0) -> int:
    """A whole number within bounds. Raises `DoesNotHold`."""
    value: int = value_of(document, name, int)
    require(smallest <= value <= largest, f"the field {name} is not between {smallest} and {largest}")
    return value


def is_object(value: Any) -> bool:
    """True for a JSON object. Raises `DoesNotHold` for anything else."""
    require(isinstance(value, dict), "a list holds something else than objects")
    return True


def time_of(document: dict[str, Any], name: str) -> datetime:
    """A time in UTC. Raises `DoesNotHold`."""
    return moment(value_of(document, name, str), f"the field {name}")


def moment(text: str, what: str) -> datetime:
    """A time in the form 2026-12-01T19:00:00.000Z. Raises `DoesNotHold`."""
    require(bool(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z", text)), f"{what} is not a time in UTC")
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise DoesNotHold(f"{what} is not a time in UTC") from None


# ---- Checks: each returns a sentence that says what holds -----------------------------------------------------------


@dataclass
class Options:
    """What the caller knows apart from the documents."""

    drop: str
    """`<tier>/<year>`."""
    beacon_key: bytes | None
    """Key of a development beacon; None for quicknet."""
    signer: str
    """The operator's key for the checkpoint, as published elsewhere; empty if it is not known."""
    root: str
    """The root that the caller noted before the beacon round; empty if none was noted."""


@dataclass
class Terms:
    """The terms, once their hash holds."""

    hash: bytes
    capacity: int
    entries_close: datetime
    challenge: timedelta
    """Least time between the publication of the root and the round."""
    beacon_key: bytes
    genesis_s: int
    period_s: int
    round: int
    signer: str

    def round_at(self, number: int) -> datetime:
        """When the beacon signs a round. Raises `DoesNotHold` for one beyond the calendar."""
        try:
            return datetime.fromtimestamp(self.genesis_s + (number - 1) * self.period_s, UTC)
        except (ValueError, OverflowError, OSError):
            raise DoesNotHold(f"round {number} is beyond the calendar") from None


@dataclass
class Checkpoint:
    """What the operator signed about the entries."""

    entries: int
    root: bytes
    round: int
    published: datetime


class Draw:
    """One draw, checked step by step; each step relies on those before it."""

    def __init__(self, reader: Reader, options: Options) -> None:
        self._reader = reader
        self._options = options
        self._document = reader.read()
        self.state: str = value_of(self._document, "state", str)
        self.terms: Terms
        self.signer_name, self.signer_key = "", b""
        self.checkpoint: Checkpoint
        self.leaves: list[bytes] = []
        self.withdrawn: list[bytes] = []
        self.seed = b""
        self.order: list[bytes] = []
        self.numbers: list[int] = []
        self.offered_rank = 0

    def has(self, name: str) -> bool:
        """Whether the document has a value for the field."""
        return self._document.get(name) not in (None, "")

    def check_terms(self) -> str:
        """The terms have the hash that everything else cites, and are those of this drop."""
        text = value_of(self._document, "terms", str)
        terms_hash = bytes_of(self._document, "terms_hash")
        require(sha256(text.encode()) == terms_hash, "the terms were changed: they do not have the hash terms_hash")
        try:
            terms = json.loads(text, object_pairs_hook=without_duplicates)
        except (ValueError, RecursionError):
            raise DoesNotHold("the terms are not JSON") from None
        require(isinstance(terms, dict), "the terms are not a JSON object")
        drop = f"{value_of(terms, 'tier', str)}/{value_of(terms, 'year', str)}"
        require(drop == self._options.drop, f"the terms are those of another drop, {drop}")
        for name in ("capacity", "entries_open", "entries_close"):
            require(self._document.get(name) == terms.get(name), f"the document has another {name} than the terms")
        self.terms = self._read_terms(terms, terms_hash)
        self.signer_name, self.signer_key = self._read_signer()
        opens, closes = time_of(terms, "entries_open"), self.terms.entries_close
        is_quicknet = self._options.beacon_key is None
        require(not is_quicknet or closes - opens >= LEAST_WINDOW, "the window for entries is shorter than 24 hours")
        beacon = "quicknet" if is_quicknet else "A DEVELOPMENT BEACON, which proves nothing"
        return (
            f"The terms have the hash {terms_hash.hex()}. {self.terms.capacity:,} numbers; entries from "
            f"{opens:%Y-%m-%d %H:%M} to {closes:%Y-%m-%d %H:%M} UTC; round {self.terms.round} of {beacon}, at "
            f"{self.terms.round_at(self.terms.round):%Y-%m-%d %H:%M:%S} UTC."
        )

    def _read_terms(self, terms: dict[str, Any], terms_hash: bytes) -> Terms:
        is_quicknet = self._options.beacon_key is None
        least_s = LEAST_CHALLENGE_S if is_quicknet else 0
        read = Terms(
            terms_hash,
            count_of(terms, "capacity", CAPACITY_LIMIT, 1),
            time_of(terms, "entries_close"),
            timedelta(seconds=count_of(terms, "challenge_s", 1 << 20, least_s)),
            bytes_of(terms, "public_key", 96),
            count_of(terms, "genesis_time", 1 << 40),
            count_of(terms, "period_s", 3600, 1),
            count_of(terms, "round", ROUND_LIMIT, 1),
            value_of(terms, "key", str),
        )
        chain, published = value_of(terms, "chain_hash", str), value_of(self._document, "beacon", dict)
        expected = self._options.beacon_key or bytes.fromhex(QUICKNET_KEY)
        require(read.beacon_key == expected, "the terms name another beacon key than the pinned one")
        pinned = (QUICKNET_CHAIN, QUICKNET_GENESIS_S, QUICKNET_PERIOD_S)
        same = not is_quicknet or (chain, read.genesis_s, read.period_s) == pinned
        require(same, "the terms name another chain than quicknet")
        same = (published.get("chain_hash"), published.get("public_key")) == (chain, read.beacon_key.hex())
        require(same, "the document names another beacon than the terms")
        return read

    def _read_signer(self) -> tuple[str, bytes]:
        """Name and Ed25519 key that the terms name, as a C2SP signed-note verifier key."""
        own = self._options.signer
        require(own in ("", self.terms.signer), "the terms name another signing key than the one that you gave")
        name, _, rest = self.terms.signer.partition("+")
        try:
            raw = base64.b64decode(rest.partition("+")[2], validate=True)
        except (binascii.Error, ValueError):
            raise DoesNotHold("the terms' signing key does not have the form of a verifier key") from None
        require(len(raw) == HASH_BYTES + 1 and raw[0] == 1, "the terms' signing key is not an Ed25519 key")
        return name, raw[1:]

    def check_leaves(self) -> str:
        """The leaves are as many as were committed to, ascending, none twice, and none of them withdrawn."""
        entries, withdrawn = (count_of(self._document, name, ENTRIES_LIMIT) for name in ("entries", "withdrawn"))
        self.leaves = self._reader.hashes("leaves", entries)
        self.withdrawn = self._reader.hashes("withdrawn", withdrawn)
        require(not set(self.leaves) & set(self.withdrawn), "an entry is listed both as a leaf and as withdrawn")
        return (
            f"{entries:,} leaf hashes are listed, in ascending order, none twice. "
            f"{withdrawn:,} more are listed as withdrawn before the close."
        )

    def check_root(self) -> str:
        """The published root is that of the listed leaves."""
        root = bytes_of(self._document, "entries_root")
        require(tree_root(self.leaves) == root, "the listed leaves do not have the root entries_root")
        noted = self._options.root
        require(noted in ("", root.hex()), "the root is not the one that you noted before the round")
        seen = " It is the root that you noted before the round." if noted else ""
        return f"Their tree has the root {root.hex()}.{seen}"

    def check_checkpoint(self) -> str:
        """The operator signed number, root, terms and round, and says that they were published in time."""
        refused = value_of(self._document, "refused", list)
        require(len(refused) <= REFUSED_LIMIT, f"more than {REFUSED_LIMIT} checkpoints were refused")
        earlier = [self._read_checkpoint(value_of(given, "checkpoint", str)) for given in refused if is_object(given)]
        self.checkpoint = last = self._read_checkpoint(value_of(self._document, "checkpoint", str))
        rounds = [checkpoint.round for checkpoint in (*earlier, last)]
        require(rounds == sorted(set(rounds)) and rounds[0] >= self.terms.round, "the rounds do not follow one another")
        in_time = last.published + self.terms.challenge <= self.terms.round_at(last.round)
        require(in_time, "the root was published too late for its round")
        first, announced = (earlier or [last])[0], self.terms.round_at(self.terms.round)
        # Both may be true of one instant: the published time is cut to milliseconds.
        late = rounds[0] == self.terms.round or first.published + self.terms.challenge >= announced
        require(late, "another round than the announced one was taken, though the root was there in time")
        in_force = value_of(self._document, "beacon", dict).get("round")
        require(in_force == last.round, "the document names another round than the signed checkpoint")
        ahead_s = (self.terms.round_at(last.round) - last.published).total_seconds()
        moved = f" THE ANNOUNCED ROUND {self.terms.round} WAS REPLACED BY ROUND {last.round}, as the root came late."
        doubt = (
            f" THE OPERATOR REFUSED {len(earlier)} SIGNED CHECKPOINT{'S' if len(earlier) > 1 else ''} AS TOO LATE, for "
            f"round {', '.join(str(one.round) for one in earlier)}. If nobody read this before that round, the "
            "operator may have seen its result first: ask why the root was late."
        )
        return (
            f"{self.signer_name} signed the number, the root, the terms and the round, and says that this was at "
            f"{last.published:%H:%M:%S} UTC, {ahead_s:.0f} s before round {last.round}."
            + (moved if last.round != self.terms.round else "")
            + (doubt if earlier else "")
        )

    def _read_checkpoint(self, note: str) -> Checkpoint:
        text, found, signatures = note.partition("\n\n")
        lines = text.split("\n")
        require(bool(found) and len(lines) == CHECKPOINT_LINES, "a checkpoint does not have the form of a signed note")
        signed = signed_note_holds(text + "\n", signatures, self.signer_name, self.signer_key)
        require(signed, "no signature of a checkpoint is that of the terms' key")
        root = bytes_of(self._document, "entries_root")
        origin = f"{self.signer_name}/drops/{self._options.drop}/entries"
        expected = [origin, str(len(self.leaves)), base64.b64encode(root).decode(), f"terms {self.terms.hash.hex()}"]
        require(lines[:4] == expected, "a checkpoint is signed for another drop, number, root or other terms")
        number = re.fullmatch(r"round ([1-9]\d{0,9})", lines[4], re.ASCII)
        require(number is not None and int(number[1]) <= ROUND_LIMIT, "a checkpoint does not name its round")
        word, _, when = lines[5].partition(" ")
        published = moment(when, "a checkpoint's time")
        in_order = word == "published" and published >= self.terms.entries_close
        require(in_order, "a checkpoint is from before the close")
        return Checkpoint(len(self.leaves), root, int(number[1]) if number else 0, published)

    def check_beacon(self) -> str:
        """The beacon signed the round."""
        number = self.checkpoint.round
        holds = is_beacon_signature(self.terms.beacon_key, number, bytes_of(self._document, "signature", 48))
        require(holds, f"the beacon did not sign round {number} with the published signature")
        return f"The beacon's signature for round {number} verifies."

    def check_seed(self) -> str:
        """The seed follows from terms, root, number and signature."""
        signature = bytes_of(self._document, "signature", 48)
        self.seed = seed_of(self.terms.hash, self.checkpoint.root, len(self.leaves), signature)
        require(
            self.seed == bytes_of(self._document, "seed"), "the seed does not follow from terms, root and signature"
        )
        return f"The seed {self.seed.hex()} follows from the terms, the root, the number and that signature."

    def check_offers(self) -> str:
        """Ranks and numbers are those that the seed gives."""
        self.order, self.numbers = order_of(self.seed, self.leaves), numbers_of(self.seed, self.terms.capacity)
        entries, capacity = len(self.order), self.terms.capacity
        self.offered_rank = count_of(self._document, "offered_rank", entries, min(entries, capacity))
        offers: list[dict[str, Any]] = []
        for page in range((self.offered_rank + PAGE_ENTRIES - 1) // PAGE_ENTRIES):
            listed = value_of(self._reader.read(f"/offers/{page}"), "offers", list)
            expected = min(PAGE_ENTRIES, self.offered_rank - len(offers))
            # Between two reads another wave may have begun; the document's `offered_rank` is what is checked.
            require(len(listed) >= expected, f"page {page} of the offers is not complete")
            offers += [offer for offer in listed[:expected] if is_object(offer)]
        passed = Waves(self.numbers).check(offers, self.order)
        alternates = max(0, self.offered_rank - capacity)
        over = f" {passed:,} ENTRIES WERE PASSED OVER: the operator says that they were erased." if passed else ""
        return (
            f"{self.offered_rank:,} offers are listed. Each rank is the one that the seed gives, and so is each number "
            f"of the first {min(self.offered_rank, capacity):,}. {alternates:,} offers went on to later ranks; none "
            "was skipped." + over
        )

    def check_cutoff(self) -> str:
        """The cutoff is the key of the last rank that has an offer."""
        last = keyed(self.seed, self.order[self.offered_rank - 1]).hex() if self.offered_rank else ""
        require(value_of(self._document, "cutoff", str) == last, "the cutoff is not the key of the last offered rank")
        return f"The cutoff is the key of rank {self.offered_rank:,}: entries up to this key have (had) an offer."


class Waves:
    """The offers in turn: first every number once, then what came back."""

    def __init__(self, numbers: list[int]) -> None:
        self._numbers = numbers
        self._place = {number: place for place, number in enumerate(numbers)}
        self._given: dict[int, int] = {}
        """By number: the wave that it was last given in, 0 where its first rank was passed over."""

    def check(self, offers: list[dict[str, Any]], order: list[bytes]) -> int:
        """Check all offers, by rank; how many ranks were passed over. Raises `DoesNotHold`."""
        passed, wave, last_place = 0, 1, -1
        for rank, offer in enumerate(offers, 1):
            require(offer.get("rank") == rank, f"the offer of rank {rank} is not in its place")
            right = bytes_of(offer, "leaf_hash") == order[rank - 1]
            require(right, f"rank {rank} was offered to another entry than the seed says")
            number, own_wave = count_of(offer, "number", len(self._numbers)), count_of(offer, "wave", ENTRIES_LIMIT, 1)
            is_first = rank <= len(self._numbers)
            require(own_wave >= wave and (own_wave == 1) == is_first, f"rank {rank} is in the wrong wave")
            if own_wave > wave:
                wave, last_place = own_wave, -1
            if number == 0:
                passed += 1
                if is_first:
                    self._given[self._numbers[rank - 1]] = 0
                continue
            place = self._place[number]
            right = (
                number == self._numbers[rank - 1] if is_first else self._came_back(number, wave) and place > last_place
            )
            require(right, f"rank {rank} was given number {number}, which is not its turn")
            self._given[number], last_place = wave, place
        return passed

    def _came_back(self, number: int, wave: int) -> bool:
        return number in self._given and self._given[number] < wave


def signed_note_holds(text: str, signatures: str, name: str, key: bytes) -> bool:
    """Whether a line of a C2SP signed note is `name`'s Ed25519 signature over `text`."""
    identifier = sha256(name.encode() + b"\n\x01" + key)[:4]
    for line in signatures.split("\n")[:16]:
        dash, _, rest = line.partition(" ")
        signer, _, encoded = rest.rpartition(" ")
        try:
            raw = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            continue
        if (dash, signer, raw[:4]) == ("—", name, identifier) and is_ed25519_signature(key, text.encode(), raw[4:]):
            return True
    return False


# ---- One entry ------------------------------------------------------------------------------------------------------


def check_entry(draw: Draw, drop: str, entry: dict[str, Any], user_id: str) -> str:
    """The entry is one of the leaves, and has the result that this says."""
    leaf = leaf_hash_of(drop, bytes_of(entry, "salt"), user_id)
    require(leaf == bytes_of(entry, "leaf_hash"), "your entry's leaf hash is not that of its salt and your user id")
    if "promise" in entry:
        require(is_promise(draw, drop, entry["promise"], leaf), "the promise is not the operator's for this entry")
    if not draw.leaves:
        return f"Your entry has the leaf hash {leaf.hex()}; the leaves are not published yet."
    require(leaf not in draw.withdrawn, "the operator says that your entry was withdrawn before the close")
    require(leaf in draw.leaves, "YOUR ENTRY IS NOT AMONG THE LEAVES: a signed promise for it is proof of fraud")
    if not draw.order:
        return f"Your entry is one of the leaves, at index {draw.leaves.index(leaf):,}. It is not drawn yet."
    rank = draw.order.index(leaf) + 1
    offered = "it has an offer" if rank <= draw.offered_rank else "it has no offer"
    return f"Your entry is one of the leaves and has rank {rank:,} of {len(draw.order):,}: {offered}."


def is_promise(draw: Draw, drop: str, promise: Any, leaf: bytes) -> bool:
    """Whether a JWS (RFC 7515, EdDSA of RFC 8037) is the operator's promise to draw this leaf under these terms."""
    try:
        signed, _, signature = promise.rpartition(".")
        header, payload, raw = (
            base64.b64decode(part + "=" * (-len(part) % 4), "-_", validate=True)
            for part in (*signed.split("."), signature)
        )
        algorithm, claims = json.loads(header)["alg"], json.loads(payload)
        said = [claims[name] for name in ("v", "drop", "leaf", "terms")]
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        return False
    meant = ["vyris-promise-v1", drop, leaf.hex(), draw.terms.hash.hex()]
    return algorithm == "EdDSA" and said == meant and is_ed25519_signature(draw.signer_key, signed.encode(), raw)


# ---- Command line ---------------------------------------------------------------------------------------------------

COMMITTED = ("leaves", "root", "checkpoint")
DRAWN = ("beacon", "seed", "offers", "cutoff")


def checks_of(draw: Draw) -> list[str]:
    """The checks that a draw allows in its state. Raises `DoesNotHold`."""
    states = ("ANNOUNCED", "ENTERING", "COMMITTED", "DRAWN", "DONE", "CANCELLED")
    require(draw.state in states, f"the state {draw.state!r} is unknown")
    is_cancelled = draw.state == "CANCELLED"  # What was there before stays.
    is_drawn = draw.state in ("DRAWN", "DONE") or (is_cancelled and draw.has("seed"))
    is_committed = is_drawn or draw.state == "COMMITTED" or (is_cancelled and draw.has("checkpoint"))
    return ["terms", *(COMMITTED if is_committed else ()), *(DRAWN if is_drawn else ())]


def judged(reader: Reader, options: Options, entry: dict[str, Any] | None, user_id: str) -> str:
    """Check everything that the draw's state allows, and print a line for each check. Return the last line."""
    draw = Draw(reader, options)
    checks: dict[str, Callable[[], str]] = {name: getattr(draw, f"check_{name}") for name in checks_of(draw)}
    if entry is not None:
        checks["your entry"] = lambda: check_entry(draw, options.drop, entry, user_id)
    for name, check in checks.items():
        try:
            print(f"ok  {name:<11} {check()}", flush=True)
        except DoesNotHold as problem:
            print(f"NO  {name:<11} {problem}.")
            raise
    if draw.state in ("DRAWN", "DONE"):
        return "The draw holds: everything follows from the terms, the entries and the beacon."
    return f"What is published so far holds. The draw is {draw.state}: it has no result to check yet."


def main() -> int:
    """Read the command line, check, and say the verdict."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("url", help="the draw's document: https://…/drops/<tier>/<year>/draw")
    parser.add_argument("--signer", default="", help="the operator's key for checkpoints, where you know it")
    parser.add_argument("--root", default="", help="the root that you noted before the beacon round, in hex")
    parser.add_argument("--entry", help="a file with the answer that you got when you entered")
    parser.add_argument("--user-id", default="", help="your user id, with --entry")
    parser.add_argument(
        "--development-beacon", metavar="KEY", help="key of a development beacon, in hex; proves nothing"
    )
    parser.add_argument("--time-limit", type=float, default=600.0, metavar="SECONDS", help="for all reading (600)")
    given = parser.parse_args()
    try:
        print(judged(Reader(address(given.url), given.time_limit), *asked(given)))
    except DoesNotHold as problem:
        print(f"THE DRAW DOES NOT HOLD: {problem}.")
        return 1
    except Unusable as problem:
        print(f"verify.py: {problem}", file=sys.stderr)
        return 2
    return 0


def address(url: str) -> str:
    """The URL of the draw without a slash at its end. Raises `Unusable`."""
    if not re.fullmatch(r"https?://[^/?#]+(/[^?#]*)?/drops/[a-z0-9-]{1,32}/\d{4}/draw/?", url):
        raise Unusable("the address must be https://…/drops/<tier>/<year>/draw")
    return url.rstrip("/")


def asked(given: argparse.Namespace) -> tuple[Options, dict[str, Any] | None, str]:
    """What the caller knows and asks for. Raises `Unusable`."""
    key = given.development_beacon
    if key is not None and not re.fullmatch("[0-9a-f]{192}", key):
        raise Unusable("--development-beacon is 96 bytes in hex")
    if given.root and not re.fullmatch("[0-9a-f]{64}", given.root):
        raise Unusable("--root is 32 bytes in hex")
    drop = "/".join(address(given.url).split("/")[-3:-1])
    options = Options(drop, None if key is None else bytes.fromhex(key), given.signer, given.root)
    if given.entry is None:
        return options, None, ""
    try:
        with open(given.entry, "rb") as file:  # noqa: PTH123  a script of its own
            entry = json.loads(file.read(DOCUMENT_LIMIT_BYTES))
    except (OSError, ValueError, RecursionError) as problem:
        raise Unusable(f"--entry cannot be read: {problem}") from None
    if isinstance(entry, dict) and isinstance(entry.get("entry"), dict):
        entry = entry["entry"] | {name: entry[name] for name in ("promise",) if name in entry}
    if not isinstance(entry, dict) or not given.user_id:
        raise Unusable("--entry needs the JSON that you got when you entered, and --user-id")
    return options, entry, given.user_id


if __name__ == "__main__":
    sys.exit(main())
