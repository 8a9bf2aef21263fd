"""Node's engines check our passes: pkijs must agree with openssl, passkit-generator must be much slower."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.wallet.development_certificates import development_credentials
from services.wallet.inspection import judge_signature
from services.wallet.opened_pass import open_pass
from services.wallet.signing import SigningCredentials
from tests.bench.wallet_passes import PASS_TYPE, TEAM, pace, press_with, unpack
from tests.peers import wallet as peers

pytestmark = pytest.mark.skipif(peers.missing() is not None, reason=str(peers.missing()))


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys")


@pytest.fixture(scope="module")
def credentials(keys: Path) -> SigningCredentials:
    return development_credentials(keys, pass_type_identifier=PASS_TYPE, team_identifier=TEAM)


@pytest.fixture
def unpacked(credentials: SigningCredentials, tmp_path: Path) -> Path:
    unpack(press_with(credentials)(), tmp_path / "pass")
    return tmp_path / "pass"


def test_pkijs_accepts_a_pass_up_to_the_root_with_its_signing_time(unpacked: Path, keys: Path) -> None:
    assert peers.pkijs_verdict(unpacked, keys / "pass_root.pem") == {
        "holds": True,
        "certificates": 2,
        "signingTime": True,
    }


@pytest.mark.parametrize("name", ["manifest.json", "signature"])
def test_pkijs_refuses_a_flipped_byte(unpacked: Path, keys: Path, name: str) -> None:
    content = bytearray((unpacked / name).read_bytes())
    content[-4] ^= 1
    (unpacked / name).write_bytes(content)
    assert peers.pkijs_verdict(unpacked, keys / "pass_root.pem")["holds"] is False


def test_pkijs_refuses_another_root(unpacked: Path, tmp_path: Path) -> None:
    development_credentials(tmp_path / "other", pass_type_identifier=PASS_TYPE, team_identifier=TEAM)
    assert peers.pkijs_verdict(unpacked, tmp_path / "other" / "pass_root.pem")["holds"] is False


def test_twenty_passes_in_the_cpu_time_of_one_of_passkit_generator(
    credentials: SigningCredentials, unpacked: Path, keys: Path, tmp_path: Path
) -> None:
    theirs = peers.passkit_generator(unpacked, keys, 2.0, tmp_path / "peer.pkpass")
    peers_pass = open_pass((tmp_path / "peer.pkpass").read_bytes())
    assert peers_pass.files.keys() >= {"icon.png", "strip@3x.png", "pass.json", "signature"}, "they made the same pass"
    assert judge_signature(peers_pass, keys / "pass_root.pem").holds is not False
    assert theirs["cpu_ms_per_pass"] >= 20 * pace(press_with(credentials), 1.0).cpu_ms_per_pass
