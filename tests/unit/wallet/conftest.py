from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from services.wallet.development_certificates import development_credentials
from services.wallet.package import PassPress
from services.wallet.pass_json import PassFacts, PassIssuer
from services.wallet.signing import SigningCredentials

PASS_TYPE = "pass.app.vyris.membership"
TEAM = "VYRISDEV01"
TOKEN = "t" * 43


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys")


@pytest.fixture(scope="session")
def credentials(keys: Path) -> SigningCredentials:
    return development_credentials(keys, pass_type_identifier=PASS_TYPE, team_identifier=TEAM)


@pytest.fixture(scope="session")
def press(credentials: SigningCredentials) -> PassPress:
    return PassPress(PassIssuer(PASS_TYPE, TEAM, web_service_url="https://passes.example/"), credentials)


@pytest.fixture
def facts() -> PassFacts:
    return PassFacts(
        serial_number="8c7f0d0e-6f0b-4d9c-9a54-9a3f6f1f2a77",
        public_id="kq3XbW0u6dR8mYt1vN5sLw",
        tier="genesis",
        year="2025",
        sequence_num=42,
        minted_at=datetime(2025, 3, 9, 18, 30, tzinfo=UTC),
    )
