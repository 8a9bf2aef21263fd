"""What the settings select, and what production refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pydantic import ValidationError

from services.server.runtime.settings import WrongSetting
from services.wallet.settings import WalletSettings
from services.wallet.signing import SigningCredentials
from services.wallet.signing_setup import apns_origin, credentials_from, tokens_from, web_service_url


def settings(state: Path, **values: object) -> WalletSettings:
    return WalletSettings(
        _env_file=None,  # type: ignore[call-arg]
        database_url="postgresql://nowhere/nothing",
        vyris_state_dir=state,
        **values,  # type: ignore[arg-type]
    )


def pem_settings(credentials: SigningCredentials) -> dict[str, str]:
    key = credentials.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return {
        "pkpass_certificate": credentials.certificate.public_bytes(Encoding.PEM).decode().replace("\n", "\\n"),
        "pkpass_key": key.decode(),
        "pkpass_wwdr": credentials.intermediate.public_bytes(Encoding.PEM).decode(),
    }


def test_development_makes_its_own_chain_and_key(tmp_path: Path) -> None:
    credentials_from(settings(tmp_path))
    first = tokens_from(settings(tmp_path))
    assert (tmp_path / "keys" / "pass_root.pem").exists()
    assert (tmp_path / "keys" / "pass_auth_key").stat().st_mode & 0o077 == 0
    from uuid import UUID

    serial = UUID(int=1)
    assert tokens_from(settings(tmp_path)).token(serial) == first.token(serial)


def test_production_makes_nothing_and_names_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(WrongSetting, match="PKPASS_CERTIFICATE and PKPASS_KEY and PKPASS_WWDR must be set"):
        credentials_from(settings(tmp_path, vyris_env="production"))
    with pytest.raises(WrongSetting, match="PASS_AUTH_KEY"):
        tokens_from(settings(tmp_path, vyris_env="production"))
    assert not (tmp_path / "keys").exists()


def test_production_refuses_a_development_chain_that_was_copied_over(
    tmp_path: Path, credentials: SigningCredentials
) -> None:
    given = pem_settings(credentials)
    assert credentials_from(settings(tmp_path, **given)).certificate == credentials.certificate
    with pytest.raises(WrongSetting, match="throw-away intermediate"):
        credentials_from(settings(tmp_path, vyris_env="production", **given))


def test_one_of_three_files_is_refused_even_in_development(tmp_path: Path, credentials: SigningCredentials) -> None:
    given = pem_settings(credentials) | {"pkpass_wwdr": ""}
    with pytest.raises(WrongSetting, match="PKPASS_WWDR must be set"):
        credentials_from(settings(tmp_path, **given))


def test_a_wrong_team_stops_the_start_and_names_the_field(tmp_path: Path, credentials: SigningCredentials) -> None:
    with pytest.raises(WrongSetting, match="organizational unit is 'VYRISDEV01', but PASS_TEAM_IDENTIFIER is"):
        credentials_from(settings(tmp_path, pass_team_identifier="OTHERTEAM1", **pem_settings(credentials)))


def test_a_short_key_is_refused_and_production_makes_none(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="32 characters or more"):
        settings(tmp_path, pass_auth_key="short")
    with pytest.raises(WrongSetting, match="PASS_AUTH_KEY is not set"):
        tokens_from(settings(tmp_path, vyris_env="production"))


def test_passes_name_their_web_service_only_where_wallet_accepts_it(tmp_path: Path) -> None:
    assert web_service_url(settings(tmp_path, public_base_url="http://localhost:3000")) is None
    secure = settings(tmp_path, public_base_url="https://vyris.example")
    assert web_service_url(secure) == "https://vyris.example/"
    assert web_service_url(secure.model_copy(update={"pass_web_service": False})) is None


def test_a_development_chain_pushes_only_to_a_configured_apns(tmp_path: Path, credentials: SigningCredentials) -> None:
    assert apns_origin(settings(tmp_path), credentials) is None
    assert apns_origin(settings(tmp_path, apns_url="https://127.0.0.1:9"), credentials) == "https://127.0.0.1:9"
