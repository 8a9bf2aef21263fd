"""Certificates that cannot be served are refused, with the setting that is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.server.runtime.settings import ServiceSettings, WrongSetting
from services.server.runtime.tls import Certificates, certificates
from tests.stand_ins.authority import Authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def test_a_sound_pair_is_taken(authority: Authority) -> None:
    cert, key = authority.issue("mint", "mint")
    assert Certificates(cert, key, authority.ca_file).mutual


def test_another_certificates_key_is_refused(authority: Authority) -> None:
    cert, _ = authority.issue("mint", "mint")
    _, other = authority.issue("other", "other")
    with pytest.raises(WrongSetting, match="SERVER_TLS_KEY_FILE holds another key"):
        Certificates(cert, other, None)


def test_files_that_were_swapped_are_refused(authority: Authority) -> None:
    cert, key = authority.issue("mint", "mint")
    with pytest.raises(WrongSetting, match="SERVER_TLS_CERT_FILE holds no certificate"):
        Certificates(key, cert, None)


def test_a_file_that_is_not_there_or_holds_no_authority_is_named(authority: Authority, tmp_path: Path) -> None:
    cert, key = authority.issue("mint", "mint")
    with pytest.raises(WrongSetting, match="SERVER_TLS_CLIENT_CA_FILE holds no certificate"):
        Certificates(cert, key, key)
    with pytest.raises(WrongSetting, match="SERVER_TLS files cannot be read"):
        Certificates(cert, tmp_path / "none.pem", None)


def test_a_renewal_of_which_only_the_key_is_there_yet_waits(authority: Authority) -> None:
    cert, key = authority.issue("mint", "mint")
    served = Certificates(cert, key, None)
    chain = cert.read_bytes()
    authority.issue("mint", "mint")
    renewed = cert.read_bytes()
    cert.write_bytes(chain)
    assert not served.renewed()
    cert.write_bytes(renewed)
    assert served.renewed()


def test_production_names_who_may_call(authority: Authority) -> None:
    cert, key = authority.issue("mint", "mint")
    files = {"server_tls_cert_file": cert, "server_tls_key_file": key, "server_tls_client_ca_file": authority.ca_file}
    with pytest.raises(WrongSetting, match="SERVER_TLS_CLIENT_NAMES is not set"):
        certificates(ServiceSettings(vyris_env="production", **files))
    with pytest.raises(WrongSetting, match="SERVER_TLS_CLIENT_NAMES is not set"):
        certificates(ServiceSettings(vyris_env="production", server_tls_client_names=" , ", **files))
    assert certificates(ServiceSettings(vyris_env="production", server_tls_client_names="gateway", **files))
    assert certificates(ServiceSettings(**files))


@pytest.mark.parametrize("missing", ["server_tls_client_ca_file", "all"])
def test_names_without_an_authority_are_refused(authority: Authority, missing: str) -> None:
    cert, key = authority.issue("mint", "mint")
    files = {} if missing == "all" else {"server_tls_cert_file": cert, "server_tls_key_file": key}
    with pytest.raises(WrongSetting, match="SERVER_TLS_CLIENT_NAMES needs"):
        certificates(ServiceSettings(server_tls_client_names="gateway", **files))
