"""`verify.py` as a stranger runs it: public GETs alone. Where its environment matters, in a process of its own."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import ModuleType

import pyblst
import pytest

from gateway.pages.__main__ import STATIC, VERIFIER_FILE
from tests.integration.draw_verifier.forgeries import FORGERIES, drop_entry_unnoticed
from tests.integration.draw_verifier.public_draw import DROP, ROUNDS, DrawServer, PublicDraw, entry_of, sha256

VERIFIER = STATIC / VERIFIER_FILE
SECRET = 0x5EED
Verify = Callable[..., subprocess.CompletedProcess[str]]


def verify_alone(server: DrawServer, *options: str) -> subprocess.CompletedProcess[str]:
    """Run it as a program."""
    # -I: neither the project nor the environment can lend it anything.
    command = [sys.executable, "-I", str(VERIFIER), server.url, *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def load_verifier() -> ModuleType:
    loader = importlib.machinery.SourceFileLoader("verify", str(VERIFIER))
    module = importlib.util.module_from_spec(importlib.machinery.ModuleSpec("verify", loader))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "verify", module)  # its dataclasses look it up
        loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def verify() -> Verify:
    """Runs it in this process: an interpreter of its own would cost more than most draws."""
    module = load_verifier()

    def run(server: DrawServer, *options: str) -> subprocess.CompletedProcess[str]:
        command = ["verify.py", server.url, *options]
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            patch.setattr(sys, "argv", command)
            try:
                status = module.main()
            except SystemExit as end:
                status = end.code
        return subprocess.CompletedProcess(command, status, out.getvalue(), err.getvalue())

    return run


def passed(output: str) -> list[str]:
    return re.findall(r"^ok +(\S+)", output, re.MULTILINE)


def test_it_imports_nothing_of_the_project() -> None:
    imported = re.findall(r"^ *(?:import|from) (\w+)", VERIFIER.read_text(), re.MULTILINE)
    foreign = set(imported) - sys.stdlib_module_names
    assert foreign == {"pyblst", "py_ecc"}


def test_an_honest_draw_of_10_000_entries_holds(server: DrawServer, honest_draw: PublicDraw) -> None:
    server.draw = honest_draw
    done = verify_alone(server)
    assert done.returncode == 0, done.stdout + done.stderr
    assert passed(done.stdout) == ["terms", "leaves", "root", "checkpoint", "beacon", "seed", "offers", "cutoff"]
    assert "10,000 leaf hashes" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("The draw holds")


@pytest.mark.parametrize("name", FORGERIES)
def test_it_refuses(verify: Verify, server: DrawServer, smaller_draw: PublicDraw, name: str) -> None:
    forge, check = FORGERIES[name]
    server.draw = smaller_draw.copy()
    forge(server.draw)
    done = verify(server)
    assert done.returncode == 1, done.stdout + done.stderr
    assert re.findall(r"^NO +(\S+)", done.stdout, re.MULTILINE) == [check]
    assert "THE DRAW DOES NOT HOLD" in done.stdout


def test_few_entries_and_few_numbers(verify: Verify, server: DrawServer) -> None:
    for entries, capacity in ((0, 5), (1, 999), (5, 3), (64, 64)):
        server.draw = PublicDraw(entries, terms={"capacity": capacity})
        done = verify(server)
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_noted_root_finds_a_list_that_was_made_again(
    verify: Verify, server: DrawServer, smaller_draw: PublicDraw
) -> None:
    root = smaller_draw.document["entries_root"]
    server.draw = smaller_draw
    assert verify(server, "--root", root).returncode == 0
    server.draw = smaller_draw.copy()
    del server.draw.leaves[1321]
    server.draw.publish()  # signed again by the operator
    assert verify(server).returncode == 0
    assert "you noted" in verify(server, "--root", root).stdout


def test_before_the_draw_it_checks_what_is_there(verify: Verify, server: DrawServer, smaller_draw: PublicDraw) -> None:
    server.draw = smaller_draw.copy()
    for state, checks in (("ENTERING", ["terms"]), ("COMMITTED", ["terms", "leaves", "root", "checkpoint"])):
        server.draw.document["state"] = state
        done = verify(server)
        assert (done.returncode, passed(done.stdout)) == (0, checks)
        assert "no result" in done.stdout
    drop_entry_unnoticed(server.draw)
    server.draw.document["state"] = "COMMITTED"
    assert verify(server).returncode == 1
    assert verify_alone(server).returncode == 1


def test_an_entrant_learns_his_rank(
    verify: Verify, server: DrawServer, honest_draw: PublicDraw, tmp_path: Path
) -> None:
    server.draw = honest_draw
    entry = entry_of(17)
    rank = sorted(honest_draw.keys.values()).index(honest_draw.keys[entry["leaf_hash"]]) + 1
    file = tmp_path / "entry.json"
    answer = {"status": "ENTERED", "entry": entry, "promise": honest_draw.promise(entry)}
    file.write_text(json.dumps(answer))
    done = verify(server, "--entry", str(file), "--user-id", "user-17")
    assert done.returncode == 0
    assert f"has rank {rank:,} of 10,000" in done.stdout
    assert verify(server, "--entry", str(file), "--user-id", "user-18").returncode == 1
    file.write_text(json.dumps(answer | {"promise": honest_draw.promise(entry_of(18))}))
    assert "promise" in verify(server, "--entry", str(file), "--user-id", "user-17").stdout


def test_it_names_a_missed_round_and_accepts_the_next_one(verify: Verify, server: DrawServer) -> None:
    server.draw = PublicDraw(50, terms={"round": 900, "capacity": 9})  # 15:54:24, before the close
    server.draw.document["beacon"]["round"] = 1000
    done = verify(server)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ROUND 900 WAS REPLACED BY ROUND 1000" in done.stdout
    assert "REFUSED" not in done.stdout
    server.draw.document["refused"] = [
        {"round": 950, "checkpoint": server.draw.checkpoint(round_number=950), "reason": "paused"}
    ]
    done = verify(server)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "REFUSED 1 SIGNED CHECKPOINT AS TOO LATE, for round 950." in done.stdout
    server.draw.document["refused"][0]["checkpoint"] = server.draw.checkpoint(round_number=1001)
    assert verify(server).returncode == 1


def test_it_names_the_ranks_of_erased_entrants(verify: Verify, server: DrawServer) -> None:
    server.draw = PublicDraw(50, terms={"capacity": 9}, alternates=2)
    server.draw.offers[3]["number"] = 0
    done = verify(server)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 ENTRIES WERE PASSED OVER" in done.stdout


def test_a_draw_that_was_cancelled_is_checked_as_far_as_it_came(verify: Verify, server: DrawServer) -> None:
    server.draw = PublicDraw(50, terms={"capacity": 9})
    server.draw.document |= {"state": "CANCELLED", "cancel_reason": "the hall burnt down"}
    assert passed(verify(server).stdout)[-1] == "cutoff"
    server.draw.document["seed"] = ""
    assert passed(verify(server).stdout)[-1] == "checkpoint"


def test_an_entry_that_was_left_out_is_found(
    verify: Verify, server: DrawServer, smaller_draw: PublicDraw, tmp_path: Path
) -> None:
    entry = entry_of(17)
    file = tmp_path / "entry.json"
    file.write_text(json.dumps(entry))
    server.draw = smaller_draw.copy()
    server.draw.leaves.remove(bytes.fromhex(entry["leaf_hash"]))
    server.draw.publish()
    assert verify(server).returncode == 0
    done = verify(server, "--entry", str(file), "--user-id", "user-17")
    assert done.returncode == 1
    assert "NOT AMONG THE LEAVES" in done.stdout


def development_beacon() -> tuple[str, str]:
    """Key and signature of round 1000, of a beacon with a secret of its own."""
    generator = pyblst.BlstP2Element.uncompress(
        bytes.fromhex(
            "93e02b6052719f607dacd3a088274f65596bd0d09920b61ab5da61bbdc7f5049334cf11213945d57e5ac7d055d042b7e"
            "024aa2b2f08f0a91260805272dc51051c6e47ad4fa403b02b4510b647ae3d1770bac0326a805bbefd48056c8c121bdb8"
        )
    )
    hashed = pyblst.BlstP1Element.hash_to_group(
        sha256((1000).to_bytes(8, "big")), b"BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_NUL_"
    )
    return generator.scalar_mul(SECRET).compress().hex(), hashed.scalar_mul(SECRET).compress().hex()


def test_py_ecc_judges_the_beacon_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = sys.getrecursionlimit()
    try:
        pytest.importorskip("py_ecc.bls", reason="py-ecc is not installed, or without what it needs")
    finally:
        sys.setrecursionlimit(limit)  # py-ecc raises it for the whole process
    monkeypatch.setitem(sys.modules, "pyblst", None)
    module = load_verifier()
    key, signature = bytes.fromhex(module.QUICKNET_KEY), bytes.fromhex(ROUNDS[1000])
    assert module.is_beacon_signature(key, 1000, signature)
    assert not module.is_beacon_signature(key, 1001, signature)
    assert not module.is_beacon_signature(key, 1000, signature[:-1] + bytes([signature[-1] ^ 1]))
    assert sys.getrecursionlimit() == limit


def test_a_development_beacon_has_to_be_named(verify: Verify, server: DrawServer) -> None:
    key, signature = development_beacon()
    server.draw = PublicDraw(50, terms={"public_key": key, "chain_hash": "d" * 64, "capacity": 9}, signature=signature)
    assert verify(server).returncode == 1
    done = verify(server, "--development-beacon", key)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "proves nothing" in done.stdout


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.0 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\n" + b" " * (1 << 20),
        b"HTTP/1.0 200 OK\r\n\r\n<html>",
        b"HTTP/1.0 200 OK\r\n\r\n" + b"[" * 100_000,
        b'HTTP/1.0 200 OK\r\n\r\n{"state": "DRAWN", "state": "DONE"}',
        b"HTTP/1.0 200 OK\r\n\r\n[]",
        b"HTTP/1.0 503 Busy\r\n\r\n",
    ],
    ids=["nothing", "redirect", "too much", "a page", "nested", "twice", "a list", "busy"],
)
def test_what_cannot_be_read_is_no_verdict(verify: Verify, server: DrawServer, answer: bytes) -> None:
    server.instead = answer
    done = verify(server)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("verify.py: ")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("terms", None),
        ("terms", "[]"),
        ("entries", True),
        ("entries", 10**30),
        ("entries_root", ""),
        ("checkpoint", "x\n\n"),
        ("seed", {}),
        ("signature", "c0" + "00" * 47),
        ("cutoff", -1),
        ("refused", [7]),
        ("state", "LOST"),
    ],
)
def test_a_document_of_another_form_does_not_hold(
    verify: Verify, server: DrawServer, field: str, value: object
) -> None:
    server.draw = PublicDraw(20, terms={"capacity": 5}, alternates=2)
    server.draw.document[field] = value
    done = verify(server)
    assert (done.returncode, done.stderr) == (1, "")


def test_wrong_usage(verify: Verify, server: DrawServer) -> None:
    server.draw = PublicDraw(3)
    assert verify_alone(server, "--unknown").returncode == 2
    for options in (["--root", "12"], ["--entry", "nowhere.json"], ["--development-beacon", "ab"], ["--unknown"]):
        assert verify(server, *options).returncode == 2
    server.url = server.url.replace(f"/drops/{DROP}/draw", "/else")
    assert verify(server).returncode == 2
