"""Find names in `.env` that are nearly names of settings: no process reads them, so warn of them."""

from __future__ import annotations

import difflib
from typing import Final

from pydantic_settings import BaseSettings, SettingsConfigDict

from cli.settings_reference import settings

LIKENESS: Final = 0.85


class _Written(BaseSettings):
    """All names in `.env`."""

    model_config = SettingsConfigDict(env_file=".env", extra="allow")


def misspelt_settings() -> list[tuple[str, str]]:
    """Each misspelt name with the setting that was probably meant. Names of other programs are ignored."""
    known = [setting.name for setting in settings()]
    found = []
    for name in (written.upper() for written in _Written().model_extra or {}):
        meant = difflib.get_close_matches(name, known, n=1, cutoff=LIKENESS)
        if name not in known and meant:
            found.append((name, meant[0]))
    return found
