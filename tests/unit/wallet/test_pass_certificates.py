"""A wrong certificate is found at the start, and the message names the field."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from services.wallet.certificates import (
    CertificateProblem,
    check_credentials,
    load_credentials,
    read_setting,
)
from services.wallet.development_certificates import development_credentials
from services.wallet.signing import SigningCredentials

PASS_TYPE = "pass.app.vyris.membership"
TEAM = "VYRISDEV01"


def check(
    credentials: SigningCredentials,
    *,
    pass_type: str = PASS_TYPE,
    team: str = TEAM,
    now: datetime | None = None,
    allow_development: bool = True,
) -> str:
    try:
        check_credentials(
            credentials,
            pass_type_identifier=pass_type,
            team_identifier=team,
            now=now or datetime.now(UTC),
            allow_development=allow_development,
        )
    except CertificateProblem as problem:
        return str(problem)
    return ""


def test_a_fitting_certificate_passes(credentials: SigningCredentials) -> None:
    assert check(credentials) == ""


def test_another_pass_type_is_named_with_both_fields_and_what_to_do(credentials: SigningCredentials) -> None:
    message = check(credentials, pass_type="pass.com.other")
    assert "common name is 'Pass Type ID: pass.app.vyris.membership'" in message
    assert "extension 1.2.840.113635.100.6.1.16 is 'pass.app.vyris.membership'" in message
    assert "Set PASS_TYPE_IDENTIFIER" in message
    assert "organizational unit" not in message


def test_another_team_is_named(credentials: SigningCredentials) -> None:
    message = check(credentials, team="OTHERTEAM1")
    assert "organizational unit is 'VYRISDEV01', but PASS_TEAM_IDENTIFIER is 'OTHERTEAM1'" in message
    assert "PASS_TYPE_IDENTIFIER" not in message


def test_a_key_of_another_certificate_is_named(credentials: SigningCredentials) -> None:
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    assert "PKPASS_KEY is not the key of PKPASS_CERTIFICATE" in check(replace(credentials, private_key=other))


def test_an_intermediate_that_did_not_issue_the_certificate_is_named(
    credentials: SigningCredentials, tmp_path: Path
) -> None:
    other = development_credentials(tmp_path, pass_type_identifier=PASS_TYPE, team_identifier=TEAM)
    message = check(replace(credentials, intermediate=other.intermediate))
    assert "PKPASS_CERTIFICATE was not issued by PKPASS_WWDR" in message


def test_a_leaf_in_place_of_the_intermediate_is_named(credentials: SigningCredentials) -> None:
    swapped = replace(credentials, intermediate=credentials.certificate)
    assert "PKPASS_CERTIFICATE was not issued by PKPASS_WWDR" in check(swapped)
    assert "Worldwide Developer Relations - G4" in check(swapped, allow_development=False)


def test_an_expired_certificate_is_named_with_its_day(credentials: SigningCredentials) -> None:
    late = datetime.now(UTC) + timedelta(days=5000)
    message = check(credentials, now=late)
    assert "PKPASS_CERTIFICATE expired on " in message
    assert "Renew it at Apple" in message


def test_production_refuses_the_development_chain(credentials: SigningCredentials) -> None:
    assert "throw-away intermediate of a development stack" in check(credentials, allow_development=False)


def test_a_setting_is_pem_text_with_escaped_newlines_or_a_path(credentials: SigningCredentials, tmp_path: Path) -> None:
    pem = credentials.certificate.public_bytes(Encoding.PEM)
    path = tmp_path / "pass.pem"
    path.write_bytes(pem)
    assert read_setting("PKPASS_CERTIFICATE", pem.decode().replace("\n", "\\n")) == pem
    assert read_setting("PKPASS_CERTIFICATE", str(path)) == pem
    with pytest.raises(CertificateProblem, match="PKPASS_CERTIFICATE is neither PEM text nor a file"):
        read_setting("PKPASS_CERTIFICATE", str(tmp_path / "missing.pem"))


def test_der_certificates_and_encrypted_keys_are_read(credentials: SigningCredentials) -> None:
    key = credentials.private_key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"open sesame")
    )
    der = {
        "certificate": credentials.certificate.public_bytes(Encoding.DER),
        "intermediate": credentials.intermediate.public_bytes(Encoding.DER),
    }
    assert check(load_credentials(private_key=key, passphrase="open sesame", **der)) == ""
    with pytest.raises(CertificateProblem, match="PKPASS_PASSPHRASE is wrong"):
        load_credentials(private_key=key, passphrase="wrong", **der)
    with pytest.raises(CertificateProblem, match="is encrypted: set PKPASS_PASSPHRASE"):
        load_credentials(private_key=key, passphrase=None, **der)
    plain = credentials.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(CertificateProblem, match="leave PKPASS_PASSPHRASE empty"):
        load_credentials(private_key=plain, passphrase="needless", **der)


def test_the_development_chain_is_made_once_and_again_for_another_pass_type(tmp_path: Path) -> None:
    first = development_credentials(tmp_path, pass_type_identifier=PASS_TYPE, team_identifier=TEAM)
    assert (tmp_path / "pass_root.pem").exists()
    assert (tmp_path / "pass_key.pem").stat().st_mode & 0o077 == 0
    again = development_credentials(tmp_path, pass_type_identifier=PASS_TYPE, team_identifier=TEAM)
    assert again.certificate == first.certificate
    moved = development_credentials(tmp_path, pass_type_identifier="pass.app.other", team_identifier=TEAM)
    assert moved.certificate != first.certificate
    assert check(moved, pass_type="pass.app.other") == ""
