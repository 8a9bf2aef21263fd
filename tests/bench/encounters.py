"""How many encounters a second: `python -m tests.bench.encounters`.

Three rates over 64 connections, one after the other on the same machine: POST /encounters/verify through the
gateway; beside it a call through the same gateway that does next to nothing (GET /drops/…, answered from memory),
which is what the gateway and Python's gRPC leave; and a conventional Node service (Fastify, jose, pg) of the same
flow over the same Postgres, which has no gateway before it. Tokens are signed beforehand. Durable commits
throughout. The load shares the processor, so read ratios; processor time an answer holds on a busy machine too.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import psutil
import uvloop
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from services.es256 import public_key_from_text
from stack.local import Stack
from tests.bench.http_load import get, load, post
from tests.encounter_service import add_member
from tests.encounter_tokens import Signer

CONNECTIONS = 64
MEMBERS = 1_000
WARM_UP_REQUESTS = 500
PEER = Path(__file__).parent / "node" / "encounter"
PEER_START_LIMIT_S = 20
# Tokens signed for each second of a run; a run that uses them up ends early, which its rate allows for.
TOKENS_A_SECOND = 4_000


class Skipped(Exception):
    """Why a part cannot be measured here."""


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0, help="length of each run")
    parser.add_argument("--rounds", type=int, default=2, help="how often the three are measured in turn")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vyris-bench-") as folder, Stack.isolated(Path(folder) / "state") as stack:
        uvloop.run(measure(stack, arguments.seconds, arguments.rounds))


async def measure(stack: Stack, seconds: float, rounds: int) -> None:
    """Fill the database, then each rate in turn."""
    connection = await asyncpg.connect(stack.database_url)
    members = [await add_member(connection) for _ in range(MEMBERS)]
    await connection.execute("ANALYZE")
    await connection.close()
    key = load_pem_private_key((stack.state.keys / "encounter_private.pem").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    gateway = stack.settings.gateway_port
    for number in range(1, rounds + 1):
        print(f"round {number} of {rounds}, {CONNECTIONS} connections, {seconds:g} s each")
        drops = itertools.repeat(get("/drops/genesis/2025"))
        meter = Meter({name: stack.pid(name) for name in ("mint", "gateway", "postgres")})
        await run("GET /drops/… through the gateway", gateway, drops, seconds, 200, meter)
        meter = Meter({name: stack.pid(name) for name in ("encounter", "gateway", "postgres")})
        await run("encounters through the gateway", gateway, signed(key, members, seconds), seconds, 201, meter)
        try:
            with peer(stack, key) as (port, pid):
                meter = Meter({"node": pid, "postgres": stack.pid("postgres")})
                await run("encounters, Node alone", port, signed(key, members, seconds), seconds, 201, meter)
        except Skipped as reason:
            print(f"  the Node service: skipped, {reason}")


class Meter:
    """Processor time of some processes, children included, since it was last read."""

    def __init__(self, pids: dict[str, int]) -> None:
        self._pids = pids
        self._seen_s = self._used_s()

    def restart(self) -> None:
        """Count from here."""
        self._seen_s = self._used_s()

    def per_answer(self, answers: int) -> str:
        """Milliseconds for each of so many answers."""
        used = {name: seconds - self._seen_s[name] for name, seconds in self._used_s().items()}
        return ", ".join(f"{name} {seconds * 1_000 / max(answers, 1):.2f}" for name, seconds in used.items())

    def _used_s(self) -> dict[str, float]:
        return {name: sum(map(_cpu_s, _tree(pid))) for name, pid in self._pids.items()}


def _tree(pid: int) -> list[psutil.Process]:
    root = psutil.Process(pid)
    return [root, *root.children(recursive=True)]


def _cpu_s(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)


async def run(name: str, port: int, requests: Iterator[bytes], seconds: float, wanted: int, meter: Meter) -> None:
    """Measure and print one rate, after a warm-up; answers that were not wanted are told, not hidden."""
    await load(port, itertools.islice(requests, WARM_UP_REQUESTS), connections=CONNECTIONS, limit_s=seconds)
    meter.restart()
    outcome = await load(port, requests, connections=CONNECTIONS, limit_s=seconds)
    others = {status: count for status, count in outcome.statuses.items() if status != wanted}
    print(
        f"  {name:<34} {outcome.rate(wanted):>6,.0f}/s   median {outcome.percentile_ms(0.5):6.1f} ms"
        f"   99 % {outcome.percentile_ms(0.99):6.1f} ms"
        f"   CPU ms an answer: {meter.per_answer(len(outcome.latencies_s))}"
        f"{f'   other answers: {others}' if others else ''}"
    )


def signed(key: ec.EllipticCurvePrivateKey, members: list[str], seconds: float) -> Iterator[bytes]:
    """Requests with tokens, each good once."""
    now = int(time.time())
    requests = []
    for number in range(int(TOKENS_A_SECOND * seconds) + WARM_UP_REQUESTS):
        initiator, receiver = members[number % MEMBERS], members[(number * 7 + 1) % MEMBERS]
        if initiator == receiver:
            continue
        token = Signer(initiator, receiver, key).token(jti=str(uuid.uuid4()), iat=now)
        requests.append(post("/encounters/verify", {"token": token}))
    return iter(requests)


@contextmanager
def peer(stack: Stack, key: ec.EllipticCurvePrivateKey) -> Iterator[tuple[int, int]]:
    """Port and process id of the Node service. Raises Skipped."""
    node = _installed()
    signer = Signer("", "", key)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    process = subprocess.Popen(
        [node, "server.js"],
        cwd=PEER,
        env={
            "PATH": os.environ["PATH"],
            "NODE_ENV": "production",
            "PORT": str(port),
            "PGHOST": str(stack.state.sockets),
            "PGUSER": "vyris",
            "PGDATABASE": "vyris",
            "ENCOUNTER_JWT_PUBLIC_KEY": signer.pem.decode(),
            "SIGNING_KEY_THUMBPRINT": public_key_from_text(signer.pem.decode()).thumbprint,
        },
    )
    try:
        _wait_listening(port, process)
        yield port, process.pid
    finally:
        process.terminate()
        process.wait(10)


def _installed() -> str:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise Skipped("node and npm are not installed")
    if not (PEER / "node_modules").exists():
        installed = subprocess.run([npm, "ci", "--no-audit", "--no-fund"], cwd=PEER, capture_output=True, check=False)
        if installed.returncode != 0:
            raise Skipped(f"`npm ci` in {PEER.relative_to(Path.cwd())} failed")
    return node


def _wait_listening(port: int, process: subprocess.Popen[bytes]) -> None:
    until_s = time.monotonic() + PEER_START_LIMIT_S
    while time.monotonic() < until_s and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise Skipped("it did not start")


if __name__ == "__main__":
    main()
