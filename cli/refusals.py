"""Failures that a person can fix, as sentences."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from services.server.runtime.settings import EXIT_CONFIGURATION, UNREADABLE_DOTENV, wrong_settings
from stack.refusal import StackRefused


def sentences(failure: Exception) -> list[str]:
    """The sentences for the person at the terminal; empty for a defect, which needs its traceback."""
    match failure:
        case StackRefused():
            return [f"vyris: {failure}"]
        case ValidationError():
            return [f"vyris: {sentence}" for sentence in wrong_settings(failure)]
        case UnicodeDecodeError() if not _is_text(Path(".env")):
            return [f"vyris: {UNREADABLE_DOTENV}"]
        case OSError(filename=str() | bytes() as path, strerror=str() as reason):
            return [f"vyris: {path if isinstance(path, str) else path.decode(errors='replace')}: {reason}."]
        case _:
            return []


def exit_status(failure: Exception) -> int:
    """The command's exit status."""
    return EXIT_CONFIGURATION if isinstance(failure, ValidationError) else 1


def _is_text(file: Path) -> bool:
    try:
        file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    return True
