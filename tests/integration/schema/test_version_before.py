"""The code of the version before works on the migrated schema: it is taken from the history, and runs on it.

The version before is the commit that the newest migration was added to.
"""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from schema.migrate import MIGRATIONS
from stack.ports import PortTaker
from suite import NAMES, SUITE
from tests.forked import wait_until_it_serves
from tests.signers.encounter import Signer
from vyris.encounter.v1 import encounter_pb2, encounter_pb2_grpc
from vyris.mint.v1 import mint_pb2, mint_pb2_grpc
from vyris.reforge.v1 import reforge_pb2, reforge_pb2_grpc
from vyris.wallet.v1 import wallet_pb2, wallet_pb2_grpc

REPOSITORY = Path(__file__).resolve().parents[3]
# A version has some of them: `admin` came later.
PACKAGES = ("services", "vyris", "schema", "admin", "cli", "stack", "gateway")
START_LIMIT_S = 60


def git(*arguments: str) -> bytes:
    done = subprocess.run(["git", "-C", str(REPOSITORY), *arguments], capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"the history is not here: git {arguments[0]} said {done.stderr.decode().strip()}")
    return done.stdout


@pytest.fixture(scope="module")
def code_before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree of the version before."""
    newest = max(MIGRATIONS.glob("*.sql")).relative_to(REPOSITORY)
    added = git("log", "-1", "--format=%H", "--diff-filter=A", "--", str(newest)).decode().strip()
    if not added:
        pytest.skip(f"{newest} is not committed yet: the code of this tree is the version before")
    folder = tmp_path_factory.mktemp("version-before")
    there = git("ls-tree", "--name-only", f"{added}^").decode().split()
    tree = git("archive", f"{added}^", *(name for name in PACKAGES if name in there))
    with tarfile.open(fileobj=io.BytesIO(tree)) as archive:
        archive.extractall(folder, filter="data")
    assert not (folder / newest).exists()
    return folder


@contextmanager
def serve(code: Path, environment: dict[str, str], service: str, port: int) -> Iterator[str]:
    """Run a service of that code; yield its target."""
    with (code / f"{service}.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", f"services.{service}"],
            env={**environment, f"{service.upper()}_PORT": str(port)},
            cwd=code,
            stdout=log,
            stderr=log,
        )
    try:
        yield f"127.0.0.1:{port}"
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()


def test_the_code_of_the_version_before_serves_on_the_new_schema(
    code_before: Path, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    environment = {
        "PATH": os.environ["PATH"],
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "VYRIS_STATE_DIR": str(tmp_path / "state"),
        "SMTP_URL": "smtp://127.0.0.1:1",
        # Only its own code, not the installed one.
        "PYTHONPATH": str(code_before),
    }
    with ExitStack() as exits:
        create = [sys.executable, "-m", "cli.main", "drop", "create", "--if-missing"]
        made = subprocess.run(create, env=environment, cwd=code_before, capture_output=True, text=True, check=False)
        assert made.returncode == 0, made.stderr
        ports = PortTaker(set())
        targets = [
            exits.enter_context(serve(code_before, environment, service, ports.free_port())) for service in NAMES
        ]
        for service, target in zip(SUITE, targets, strict=True):
            wait_until_it_serves(service.full_name, int(target.rpartition(":")[2]), START_LIMIT_S)
        channels = [exits.enter_context(grpc.insecure_channel(target)) for target in targets]
        mint = mint_pb2_grpc.MintServiceStub(channels[0])
        minted = [
            mint.Mint(mint_pb2.MintRequest(receipt_data=name, user_id=name, email=f"{name}@example.org"), timeout=30)
            for name in ("ada", "ben", "ada")
        ]
        assert [answer.replayed for answer in minted] == [False, False, True]
        ada, ben = minted[0].membership.id, minted[1].membership.id
        key = load_pem_private_key((tmp_path / "state" / "keys" / "encounter_private.pem").read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        token = encounter_pb2.VerifyEncounterRequest(token=Signer(ada, ben, key).token())
        met = encounter_pb2_grpc.EncounterServiceStub(channels[1]).VerifyEncounter(token, timeout=30)
        assert met.status == "VERIFIED"
        wanted = wallet_pb2.IssuePassRequest(membership_id=ada, user_id="ada")
        assert wallet_pb2_grpc.WalletServiceStub(channels[2]).IssuePass(wanted, timeout=30).data[:2] == b"PK"
        move = reforge_pb2.InitReforgeRequest(
            membership_id=ada,
            user_id="ada",
            new_device_id="phone",
            new_public_key=Signer(ada, ben).pem.decode(),
        )
        assert reforge_pb2_grpc.ReforgeServiceStub(channels[3]).InitReforge(move, timeout=30).status == "PENDING"
