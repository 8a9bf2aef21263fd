"""Passes a second, ours beside Node's passkit-generator, on the same images: `python -m tests.bench.wallet_passes`.

CPU time is what counts on a machine that others use too; RSA-2048 alone is shown
as the floor under every pass.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from rich.console import Console
from rich.table import Table

from services.wallet.development_certificates import development_credentials
from services.wallet.opened_pass import open_pass
from services.wallet.package import PassPress
from services.wallet.pass_json import PassFacts, PassIssuer
from services.wallet.signing import SigningCredentials
from tests.peers import wallet as peers

PASS_TYPE, TEAM = "pass.app.vyris.membership", "VYRISDEV01"
SECONDS = 3.0
ROUNDS = 5


@dataclass(frozen=True)
class Pace:
    passes_per_s: float
    cpu_ms_per_pass: float


def pace(work: Callable[[], object], seconds: float = SECONDS) -> Pace:
    """The fastest of several rounds, because noise only adds time."""
    rounds = [_round(work, seconds / ROUNDS) for _ in range(ROUNDS)]
    return Pace(max(one.passes_per_s for one in rounds), min(one.cpu_ms_per_pass for one in rounds))


def _round(work: Callable[[], object], seconds: float) -> Pace:
    began, cpu, passes = time.perf_counter(), time.process_time(), 0
    while (elapsed := time.perf_counter() - began) < seconds:
        work()
        passes += 1
    return Pace(passes / elapsed, (time.process_time() - cpu) * 1000 / passes)


def press_with(credentials: SigningCredentials) -> Callable[[], bytes]:
    """One pass with the real images, signed."""
    press = PassPress(PassIssuer(PASS_TYPE, TEAM, web_service_url="https://vyris.example/"), credentials)
    facts = PassFacts(
        "8c7f0d0e-6f0b-4d9c-9a54-9a3f6f1f2a77", "kq3XbW0u6dR8mYt1vN5sLw", "genesis", "2025", 42, datetime.now(UTC)
    )
    return lambda: press.press(facts, "t" * 43)


def unpack(package: bytes, folder: Path) -> None:
    """Write the files of a pass."""
    for name, content in open_pass(package).files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def main() -> None:
    """Measure and print."""
    table = Table("what", "passes/s", "CPU ms a pass", title="One process, RSA-2048, the real images")
    with tempfile.TemporaryDirectory() as scratch:
        keys, folder = Path(scratch) / "keys", Path(scratch) / "pass"
        credentials = development_credentials(keys, pass_type_identifier=PASS_TYPE, team_identifier=TEAM)
        press = press_with(credentials)
        ours = pace(press)
        rsa = pace(lambda: credentials.private_key.sign(b"x" * 900, PKCS1v15(), SHA256()))
        unpack(press(), folder)
        _row(table, "RSA-2048 signature alone", rsa)
        _row(table, "vyris", ours)
        if reason := peers.missing():
            table.caption = f"passkit-generator was not measured. {reason}"
        else:
            theirs = Pace(**peers.passkit_generator(folder, keys, SECONDS, Path(scratch) / "peer.pkpass"))
            _row(table, "passkit-generator (Node)", theirs)
            table.caption = f"{theirs.cpu_ms_per_pass / ours.cpu_ms_per_pass:.0f} times as many passes for the same CPU"
    Console().print(table)


def _row(table: Table, what: str, measured: Pace) -> None:
    table.add_row(what, f"{measured.passes_per_s:,.1f}", f"{measured.cpu_ms_per_pass:.3f}")


if __name__ == "__main__":
    main()
