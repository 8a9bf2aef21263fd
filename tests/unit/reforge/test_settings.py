"""Settings that production refuses, and settings that are always wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from services.reforge.settings import ReforgeSettings, sender_of, token_key
from services.server.runtime.settings import WrongSetting
from stack.state import StateFolder

PRODUCTION = {
    "vyris_env": "production",
    "reforge_token_key": "k" * 32,
    "reforge_base_url": "https://club.example",
    "public_base_url": "https://api.club.example",
    "reforge_from_email": "Club <no-reply@club.example>",
    "smtp_url": "smtps://user:secret@mail.club.example",
}


def settings(**changes: object) -> ReforgeSettings:
    return ReforgeSettings(_env_file=None, database_url="postgresql://", **changes)  # type: ignore[arg-type]


def test_production_with_everything_set_starts_and_asks_for_codes() -> None:
    whole = settings(**PRODUCTION)
    whole.refuse_conveniences()
    assert whole.code_required
    assert not settings(**{**PRODUCTION, "reforge_code": "off"}).code_required


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("reforge_token_key", ""),
        ("reforge_base_url", "http://club.example"),
        ("smtp_url", ""),
        ("smtp_url", "smtp://mail.club.example"),
        ("reforge_from_email", "no-reply@vyris.localhost"),
        ("reforge_email_delay_h", 0),
        ("reforge_email_delay_h", 23),
    ],
)
def test_production_refuses_what_is_for_development(name: str, value: object) -> None:
    with pytest.raises(WrongSetting, match=name.upper()):
        settings(**{**PRODUCTION, name: value}).refuse_conveniences()


def test_production_makes_no_key(tmp_path: Path) -> None:
    with pytest.raises(WrongSetting):
        token_key(settings(**{**PRODUCTION, "reforge_token_key": "", "vyris_state_dir": tmp_path}))
    assert list(tmp_path.iterdir()) == []


def test_development_needs_nothing_and_asks_for_no_code(tmp_path: Path) -> None:
    plain = settings(vyris_state_dir=tmp_path)
    plain.refuse_conveniences()
    assert not plain.code_required
    assert plain.reforge_base_url == plain.public_base_url == "http://localhost:3000"
    assert settings(gateway_port=4000).reforge_base_url == "http://localhost:4000"


@pytest.mark.parametrize(
    "changes",
    [
        {"reforge_token_key": "short"},
        {"reforge_base_url": "club.example"},
        {"reforge_base_url": "https://club.example?a=b"},
        {"public_base_url": "ftp://club.example"},
        {"reforge_from_email": "nobody"},
        {"reforge_from_email": "a@b\nBcc: c@d"},
        {"reforge_from_email": "\u00e4da@club.example"},
        {"reforge_from_email": "Club <\u00e4da@club.example>"},
        {"reforge_from_email": "a@club.example, b@club.example"},
        {"reforge_from_email": "Club no-reply@club.example"},
        {"reforge_from_email": "<no-reply@club.example> Club"},
        {"reforge_from_email": '"two words"@club.example'},
        {"reforge_from_email": "no-reply@club..example"},
        {"reforge_from_email": "no-reply@[127.0.0.1]"},
        {"smtp_url": "http://mail"},
        {"smtp_url": "smtp://"},
        {"smtp_url": "smtp://mail:99999"},
        {"mail_lease_ms": 5_000, "mail_timeout_ms": 5_000},
        {"device_proof": "sometimes"},
        {"reforge_ttl_s": 1},
    ],
)
def test_a_wrong_setting_names_itself(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        settings(**changes)


def test_a_sender_may_have_a_name() -> None:
    sender = sender_of("The Club <no-reply@club.example>")
    assert (sender.display_name, sender.addr_spec) == ("The Club", "no-reply@club.example")


def test_a_senders_domain_in_another_script_is_written_as_mail_carries_it() -> None:
    assert sender_of("Club <no-reply@b\u00fccher.example>").addr_spec == "no-reply@xn--bcher-kva.example"


def test_a_senders_name_may_be_in_any_script() -> None:
    assert sender_of("Die B\u00fccher <no-reply@club.example>").display_name == "Die B\u00fccher"


def test_a_day_is_delay_enough_in_production() -> None:
    settings(**{**PRODUCTION, "reforge_email_delay_h": 24}).refuse_conveniences()
    assert settings(reforge_email_delay_h=0).reforge_email_delay_h == 0


def test_a_state_folder_below_the_home_folder_is_one_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    here = settings(vyris_state_dir="~/state")
    token_key(here)
    assert (tmp_path / "state" / "keys").is_dir()
    assert here.vyris_state_dir == StateFolder(Path("~/state")).root
