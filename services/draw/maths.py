"""The pure part of a draw: leaves, tree, checkpoint, seed, order, numbers. Needs only `hashlib` and `hmac`.

The formulas are public (docs/check-a-draw.md). `verify.py` computes the same from public answers, without this code.
The tree is that of RFC 6962, section 2.1. The checkpoint is a C2SP tlog-checkpoint in a signed note.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
from bisect import bisect_left
from collections.abc import Sequence
from typing import Final, NamedTuple

SALT_BYTES: Final = 32
HASH_BYTES: Final = 32
LEAF_PREFIX: Final = b"vyris-entry-v1\n"
SEED_PREFIX: Final = b"vyris-draw-v1\n"
NUMBER_PREFIX: Final = b"number"
ED25519: Final = b"\x01"  # the kind of key in a note's key id


def leaf(tier: str, year: str, salt: bytes, user_id: str) -> bytes:
    """The leaf of an entry. `salt` is 32 bytes, `user_id` printable ASCII."""
    commitment = base64.b64encode(hashlib.sha256(salt + user_id.encode()).digest())
    return LEAF_PREFIX + f"{tier}/{year}\n".encode() + commitment + b"\n"


def leaf_hash(leaf_text: bytes) -> bytes:
    """RFC 6962: SHA-256(0x00 ‖ leaf)."""
    return hashlib.sha256(b"\x00" + leaf_text).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """RFC 6962: SHA-256(0x01 ‖ left ‖ right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class LeafTree:
    """The RFC 6962 tree over leaf hashes in ascending order, with all its levels."""

    def __init__(self, leaf_hashes: Sequence[bytes]) -> None:
        """`leaf_hashes` in any order. Raises ValueError if one occurs twice."""
        leaves = sorted(leaf_hashes)
        if any(one == other for one, other in itertools.pairwise(leaves)):
            raise ValueError("a leaf occurs twice")
        self._levels = [leaves]
        while len(self._levels[-1]) > 1:
            self._levels.append(_level_above(self._levels[-1]))

    @property
    def leaves(self) -> list[bytes]:
        """The leaf hashes, ascending."""
        return self._levels[0]

    @property
    def root(self) -> bytes:
        """The root; SHA-256 of nothing for a tree without leaves."""
        return self._levels[-1][0] if self.leaves else hashlib.sha256().digest()

    def index_of(self, wanted: bytes) -> int | None:
        """The place of a leaf hash, from 0; None if it is not in the tree."""
        index = bisect_left(self.leaves, wanted)
        return index if index < len(self.leaves) and self.leaves[index] == wanted else None

    def proof(self, index: int) -> list[bytes]:
        """The audit path of a leaf (RFC 6962, 2.1.1), from the leaf's sibling to the root's child."""
        path = []
        for level in self._levels[:-1]:
            sibling = index ^ 1
            if sibling < len(level):
                path.append(level[sibling])
            index >>= 1
        return path


def _level_above(level: list[bytes]) -> list[bytes]:
    """A node without a sibling goes up unchanged, which is the same as a split at the largest power of two."""
    above = [node_hash(level[n], level[n + 1]) for n in range(0, len(level) - 1, 2)]
    return above + level[-1:] if len(level) % 2 else above


def root_of_proof(hashed_leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes | None:
    """The root that follows from an audit path (RFC 9162, 2.1.3.2); None if the path has a wrong length."""
    if not 0 <= index < size:
        return None
    node, last = index, size - 1
    current = hashed_leaf
    for sibling in path:
        if last == 0:
            return None
        if node & 1 or node == last:
            current = node_hash(sibling, current)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            current = node_hash(current, sibling)
        node, last = node >> 1, last >> 1
    return current if last == 0 else None


class Checkpoint(NamedTuple):
    """The contents of a checkpoint."""

    origin: str
    size: int
    root: bytes
    terms_hash: bytes
    round: int
    published: str  # RFC 3339

    def body(self) -> str:
        """The text that is signed."""
        return (
            f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"
            f"terms {self.terms_hash.hex()}\nround {self.round}\npublished {self.published}\n"
        )


def checkpoint_origin(key_name: str, tier: str, year: str) -> str:
    """The first line of a checkpoint: the name of the list."""
    return f"{key_name}/drops/{tier}/{year}/entries"


def note_key_id(name: str, public_key: bytes) -> bytes:
    """The four bytes that name an Ed25519 key in a signed note."""
    return hashlib.sha256(name.encode() + b"\n" + ED25519 + public_key).digest()[:4]


def verifier_key(name: str, public_key: bytes) -> str:
    """An Ed25519 key in the form for verifiers of signed notes: name, key id and key."""
    key = base64.b64encode(ED25519 + public_key).decode()
    return f"{name}+{note_key_id(name, public_key).hex()}+{key}"


def read_verifier_key(text: str) -> tuple[str, bytes]:
    """Name and public key of a verifier key. Raises ValueError."""
    name, key_id, key = [*text.split("+", 2), "", ""][:3]
    try:
        raw = base64.b64decode(key, validate=True)
    except ValueError:
        raw = b""
    if not name or raw[:1] != ED25519 or len(raw) != 1 + HASH_BYTES or note_key_id(name, raw[1:]).hex() != key_id:
        raise ValueError("it is no verifier key of a signed note (name+id+base64)")
    return name, raw[1:]


def signed_note(body: str, name: str, public_key: bytes, signature: bytes) -> str:
    """A C2SP signed note with one Ed25519 signature over `body`."""
    line = base64.b64encode(note_key_id(name, public_key) + signature).decode()
    return f"{body}\n\N{EM DASH} {name} {line}\n"


def terms_hash_of(text: str) -> bytes:
    """SHA-256 of the terms as they are served."""
    return hashlib.sha256(text.encode()).digest()


def draw_seed(terms_hash: bytes, root: bytes, size: int, beacon_signature: bytes) -> bytes:
    """The seed decides the draw: nobody knows it before the round, and everyone can compute it afterwards."""
    return hashlib.sha256(SEED_PREFIX + terms_hash + root + size.to_bytes(8, "big") + beacon_signature).digest()


def order_key(seed: bytes, hashed_leaf: bytes) -> bytes:
    """The key of an entry; the smallest one has rank 1."""
    return hmac.digest(seed, hashed_leaf, "sha256")


def number_key(seed: bytes, number: int) -> bytes:
    """The key of a number; rank r gets the number with the r-th smallest key."""
    return hmac.digest(seed, NUMBER_PREFIX + number.to_bytes(4, "big"), "sha256")


def ranked(seed: bytes, leaf_hashes: Sequence[bytes]) -> list[bytes]:
    """The leaf hashes from rank 1 on."""
    return sorted(leaf_hashes, key=lambda one: order_key(seed, one))


def ordered_numbers(seed: bytes, numbers: Sequence[int]) -> list[int]:
    """A drop's numbers in the order of the ranks that get them."""
    return sorted(numbers, key=lambda number: number_key(seed, number))


def has_offer(seed: bytes, cutoff: bytes, hashed_leaf: bytes) -> bool:
    """Whether an entry has or had an offer. `cutoff`: the key of the last rank with one; empty if there is none."""
    return bool(cutoff) and order_key(seed, hashed_leaf) <= cutoff
