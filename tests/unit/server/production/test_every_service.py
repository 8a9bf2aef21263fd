"""Settings that production requires: each process that has them refuses to start without them."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.descriptor import FileDescriptor

from cli.settings_reference import READERS
from services.identity.device_proof import DeviceProofSettings
from services.identity.user_tokens import UserTokenSettings
from services.server.production import refuse_development
from services.server.runtime.settings import ServiceSettings, WrongSetting
from suite import SUITE

SERVICES: dict[str, tuple[type[ServiceSettings], FileDescriptor]] = {
    service.name: (READERS[service.name], service.descriptor.file)  # type: ignore[dict-item]
    for service in SUITE
}
NAMING_USERS = {
    name
    for name, (_, file) in SERVICES.items()
    for service in file.services_by_name.values()
    for method in service.methods
    if "user_id" in method.input_type.fields_by_name
}
SOUND = {
    "vyris_env": "production",
    "database_url": "postgresql://localhost/none",
    "redis_url": "redis://localhost",
    "public_base_url": "https://api.club.example",
    "user_jwt_issuer": "https://id.club.example",
    "user_jwt_jwks": "https://id.club.example/jwks.json",
    "user_jwt_audience": "club",
}
WRONG: list[tuple[str, str, type[Any]]] = [
    ("user_jwt_issuer", "", UserTokenSettings),
    ("user_jwt_audience", "", UserTokenSettings),
    ("user_jwt_audience", "  ", UserTokenSettings),
    ("public_base_url", "http://club.example", DeviceProofSettings),
    ("device_proof", "off", DeviceProofSettings),
    ("failpoints_file", "/tmp/points.json", ServiceSettings),  # noqa: S108 - never opened
]


def settings(name: str, **changes: str) -> ServiceSettings:
    return SERVICES[name][0](_env_file=None, **{**SOUND, **changes})


def test_services_that_name_users_have_the_settings_to_prove_them() -> None:
    assert {"mint", "wallet", "reforge"} == NAMING_USERS
    for name in NAMING_USERS:
        assert issubclass(SERVICES[name][0], UserTokenSettings)


@pytest.mark.parametrize("name", SERVICES)
@pytest.mark.parametrize(("setting", "value", "group"), WRONG)
def test_production_refuses_what_development_allows(name: str, setting: str, value: str, group: type[Any]) -> None:
    refuse_development(settings(name))
    wrong = settings(name, **{setting: value})
    if isinstance(wrong, group):
        with pytest.raises(WrongSetting, match=setting.upper()):
            refuse_development(wrong)
    else:
        refuse_development(wrong)
    refuse_development(settings(name, **{setting: value, "vyris_env": "development"}))


@pytest.mark.parametrize("name", sorted(NAMING_USERS))
def test_a_device_proof_is_no_substitute_for_a_user(name: str) -> None:
    with pytest.raises(WrongSetting, match="USER_JWT_ISSUER and USER_JWT_AUDIENCE"):
        refuse_development(settings(name, user_jwt_issuer="", user_jwt_audience="", device_proof="always"))
