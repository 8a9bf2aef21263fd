"""The draw's formulas, against what the specifications and plain definitions say."""

from __future__ import annotations

import base64
import hashlib
import hmac
import random
from collections import Counter

import pytest

from services.draw import maths
from vyris.client import Draw, Result
from vyris.draw.v1 import draw_pb2


def h(n: int) -> bytes:
    return hashlib.sha256(str(n).encode()).digest()


def by_definition(leaves: list[bytes]) -> bytes:
    """RFC 6962, 2.1, word by word."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return maths.node_hash(by_definition(leaves[:split]), by_definition(leaves[split:]))


def test_a_leaf_is_what_the_formula_says() -> None:
    salt = bytes(range(32))
    commitment = base64.b64encode(hashlib.sha256(salt + b"ada").digest()).decode()
    leaf = maths.leaf("genesis", "2025", salt, "ada")
    assert leaf == f"vyris-entry-v1\ngenesis/2025\n{commitment}\n".encode()
    assert maths.leaf_hash(leaf) == hashlib.sha256(b"\x00" + leaf).digest()
    assert leaf != maths.leaf("genesis", "2026", salt, "ada")


def test_the_tree_is_rfc_6962s_for_every_size() -> None:
    for size in [*range(70), 127, 128, 129, 1_000]:
        leaves = sorted(h(n) for n in range(size))
        tree = maths.LeafTree(random.sample(leaves, size))
        assert tree.leaves == leaves
        assert tree.root == by_definition(leaves)
        for index in range(0, size, 1 + size // 20):
            proof = tree.proof(index)
            assert tree.index_of(leaves[index]) == index
            assert maths.root_of_proof(leaves[index], index, size, proof) == tree.root
            assert maths.root_of_proof(leaves[index], index, size, [*proof, h(0)]) != tree.root
            if size > 1:
                assert maths.root_of_proof(leaves[index], index, size, proof[:-1]) != tree.root
                assert maths.root_of_proof(leaves[index - 1], index, size, proof) != tree.root
        assert tree.index_of(h(-1)) is None


def test_a_leaf_is_in_a_tree_once() -> None:
    with pytest.raises(ValueError, match="twice"):
        maths.LeafTree([h(1), h(2), h(1)])


def test_a_checkpoint_is_a_c2sp_note() -> None:
    name, key = "example.com/foo", bytes([0x32]) + b"A" * 31
    written = maths.verifier_key(name, key)
    assert maths.read_verifier_key(written) == (name, key)
    for wrong in (written[:-1], written.replace("+", "-", 1), written.replace("foo", "bar"), "", "a+b+c"):
        with pytest.raises(ValueError, match="verifier key"):
            maths.read_verifier_key(wrong)
    body = maths.Checkpoint("o/drops/a/2025/entries", 3, h(1), h(2), 7, "2026-12-01T00:00:00.000Z").body()
    assert body.splitlines() == [
        "o/drops/a/2025/entries",
        "3",
        base64.b64encode(h(1)).decode(),
        f"terms {h(2).hex()}",
        "round 7",
        "published 2026-12-01T00:00:00.000Z",
    ]
    note = maths.signed_note(body, name, key, bytes(64))
    head, line = note.split("\n\n")
    assert head + "\n" == body
    dash, signer, signature = line.removesuffix("\n").split(" ")
    assert (dash, signer) == ("\N{EM DASH}", name)
    assert base64.b64decode(signature) == hashlib.sha256(name.encode() + b"\n\x01" + key).digest()[:4] + bytes(64)


def test_seed_order_and_numbers_are_what_the_formulas_say() -> None:
    seed = maths.draw_seed(h(1), h(2), 10, bytes(48))
    assert seed == hashlib.sha256(b"vyris-draw-v1\n" + h(1) + h(2) + (10).to_bytes(8, "big") + bytes(48)).digest()
    leaves = [h(n) for n in range(10)]
    keys = {hmac.new(seed, leaf, hashlib.sha256).digest(): leaf for leaf in leaves}
    order = maths.ranked(seed, leaves)
    assert order == [keys[key] for key in sorted(keys)]
    by_number = {hmac.new(seed, b"number" + n.to_bytes(4, "big"), hashlib.sha256).digest(): n for n in range(1, 8)}
    assert maths.ordered_numbers(seed, range(1, 8)) == [by_number[key] for key in sorted(by_number)]
    cutoff = maths.order_key(seed, order[3])
    assert [maths.has_offer(seed, cutoff, leaf) for leaf in order] == [True] * 4 + [False] * 6
    assert not maths.has_offer(seed, b"", order[0])


def test_each_client_computes_its_own_result() -> None:
    seed, leaves = h(0), [h(n) for n in range(1, 1_001)]
    order = maths.ranked(seed, leaves)
    document = draw_pb2.GetDrawResponse(
        state="DRAWN", seed=seed.hex(), cutoff=maths.order_key(seed, order[99]).hex(), offered_rank=100
    )
    entries = {leaf: draw_pb2.Entry(leaf_hash=leaf.hex()) for leaf in leaves}
    draw = Draw(document)
    assert [draw.result(entries[leaf]) for leaf in order] == [Result.OFFERED] * 100 + [Result.WAITING] * 900
    document.state = "DONE"
    assert Draw(document).result(entries[order[100]]) == Result.NOT_OFFERED
    assert Draw(draw_pb2.GetDrawResponse(state="COMMITTED")).result(entries[order[0]]) == Result.NOT_DRAWN
    assert Draw(draw_pb2.GetDrawResponse(state="CANCELLED")).result(entries[order[0]]) == Result.CANCELLED
    nobody = draw_pb2.GetDrawResponse(state="DRAWN", seed=seed.hex())
    assert Draw(nobody).result(entries[order[0]]) == Result.WAITING


# What χ² exceeds with a chance of 1 in 1,000, by degrees of freedom (NIST, 1.3.6.7.4).
CHI2_9, CHI2_99 = 27.877, 148.230


def chi2(counts: list[int]) -> float:
    mean = sum(counts) / len(counts)
    return sum((count - mean) ** 2 for count in counts) / mean


def test_ranks_are_uniform_and_know_nothing_of_the_arrival() -> None:
    """1,000 entrants, 200 seeds: who came in which tenth, against the tenth of the ranks that they got."""
    leaves = [h(n) for n in range(1_000)]
    arrival = {leaf: place // 100 for place, leaf in enumerate(leaves)}
    cells: Counter[tuple[int, int]] = Counter()
    first: Counter[int] = Counter()
    for n in range(200):
        order = maths.ranked(maths.draw_seed(h(-1), h(-2), 1_000, n.to_bytes(48, "big")), leaves)
        cells.update((arrival[leaf], rank // 100) for rank, leaf in enumerate(order))
        first.update(arrival[leaf] for leaf in order[:100])
    assert chi2([cells[one, other] for one in range(10) for other in range(10)]) < CHI2_99
    assert chi2([first[tenth] for tenth in range(10)]) < CHI2_9
