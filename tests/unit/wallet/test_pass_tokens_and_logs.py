"""Tokens belong to one serial; device logs carry no secret."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from services.wallet.device_logs import BURST, LINE_LIMIT, LINES_PER_CALL, DeviceLogs, clean_line
from services.wallet.pass_tokens import PassTokens

TOKENS = PassTokens("k" * 32)
SERIAL = UUID("8c7f0d0e-6f0b-4d9c-9a54-9a3f6f1f2a77")


def test_a_token_opens_only_its_own_serial() -> None:
    token = TOKENS.token(SERIAL)
    assert len(token) == 43
    assert TOKENS.admits(f"ApplePass {token}", SERIAL)
    assert TOKENS.admits(f"applepass {token}", SERIAL)
    assert not TOKENS.admits(f"ApplePass {token}", uuid4())
    assert not PassTokens("j" * 32).admits(f"ApplePass {token}", SERIAL)


@pytest.mark.parametrize(
    "header", [None, "", "ApplePass", "ApplePass ", "Bearer {}", "{}", "ApplePass {}x", "ApplePass é"]
)
def test_any_other_header_opens_nothing(header: str | None) -> None:
    presented = header.format(TOKENS.token(SERIAL)) if header else header
    assert not TOKENS.admits(presented, SERIAL)


def test_a_logged_line_is_short_printable_and_without_tokens() -> None:
    token = TOKENS.token(SERIAL)
    line = clean_line(f"GET failed\nAuthorization: ApplePass {token} for {SERIAL}\x1b[31m" + " no" * 1000)
    assert token not in line
    assert str(SERIAL) not in line
    assert "\n" not in line
    assert "\x1b" not in line
    assert len(line) <= LINE_LIMIT


def test_devices_cannot_flood_the_log() -> None:
    logs = DeviceLogs()
    written = sum(logs.record(["line"] * 100) for _ in range(50))
    assert written <= BURST + 5
    assert DeviceLogs().record(["line"] * 100) == LINES_PER_CALL
