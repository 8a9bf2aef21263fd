"""Write the reference of the settings: `.env.example` and `docs/settings.md`.

python -m cli.settings_reference           write both
python -m cli.settings_reference --check   exit with 1 if one is not up to date
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Final

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings

from admin.settings import NewDrawSettings, NewHoldSettings, OperatorSettings
from gateway.settings import GatewaySettings
from stack.settings import StackSettings
from suite import NAMES

REPOSITORY: Final = Path(__file__).resolve().parent.parent


def _service_settings(name: str) -> type[BaseSettings]:
    """`services/wallet/settings.py` has `WalletSettings`, and so on."""
    module = import_module(f"services.{name}.settings")
    settings_class: type[BaseSettings] = getattr(module, f"{name.capitalize()}Settings")
    return settings_class


READERS: Final[dict[str, type[BaseSettings]]] = {
    **{name: _service_settings(name) for name in NAMES},
    "gateway": GatewaySettings,
    "local stack": StackSettings,
    "vyris command": OperatorSettings,
    "`vyris drop create`": NewHoldSettings,
    "`vyris drop create --sale draw`": NewDrawSettings,
}


@dataclass
class Setting:
    """One environment variable: its description, its default as text, and the processes that read it."""

    name: str
    meaning: str
    default: str
    readers: list[str] = field(default_factory=list)


def settings() -> list[Setting]:
    """All settings, in the order of the parts.

    Raises ValueError for a setting without a description, or with different defaults in two processes.
    """
    found: dict[str, Setting] = {}
    for reader, settings_class in READERS.items():
        for field_name, info in settings_class.model_fields.items():
            name = field_name.upper()
            if name not in found:
                if not info.description:
                    raise ValueError(f"{settings_class.__name__}.{field_name} has no description")
                found[name] = Setting(name, info.description, _default(info))
            if _default(info) != found[name].default:
                raise ValueError(
                    f"{settings_class.__name__}.{field_name}: the default is {found[name].default!r} elsewhere"
                )
            found[name].readers.append(reader)
    return list(found.values())


def env_example() -> str:
    """`.env.example`: every setting, commented out, with its default."""
    lines = [
        "# Every setting with its default. Copy to `.env` and uncomment what you change; the environment overrides it.",
        "# Written by `make settings`.",
    ]
    for setting in settings():
        lines += [
            "",
            f"# {_sentence(setting.meaning)} ({', '.join(setting.readers)})",
            f"#{setting.name}={setting.default}",
        ]
    return "\n".join(lines) + "\n"


def table() -> str:
    """`docs/settings.md`: the same as a table."""
    lines = [
        "# Settings",
        "",
        "Read from the environment, then from `.env`. A wrong setting ends the process with status 78 and a message "
        "that names it.",
        "Written by `make settings`.",
        "",
        "| setting | default | meaning | read by |",
        "|---|---|---|---|",
    ]
    for setting in settings():
        default = f"`{setting.default}`" if setting.default else ""
        meaning = _sentence(setting.meaning).replace("|", "\\|")
        lines.append(f"| `{setting.name}` | {default} | {meaning} | {', '.join(setting.readers)} |")
    return "\n".join(lines) + "\n"


def _default(info: FieldInfo) -> str:
    value = info.default
    if value is PydanticUndefined or value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ",".join(str(part) for part in value)
    if isinstance(value, Path):
        inside = value.is_relative_to(REPOSITORY)
        return "" if value == Path() else str(value.relative_to(REPOSITORY) if inside else value)
    return str(value)


def _sentence(text: str) -> str:
    return " ".join(text.split()).removesuffix(".")


def main() -> int:
    """Write both files, or check that they are up to date."""
    written = {REPOSITORY / ".env.example": env_example(), REPOSITORY / "docs" / "settings.md": table()}
    if sys.argv[1:] != ["--check"]:
        for path, text in written.items():
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return 0
    stale = [
        path.name for path, text in written.items() if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    for name in stale:
        sys.stderr.write(f"not what `make settings` writes: {name}\n")
    return 1 if stale else 0


if __name__ == "__main__":
    raise SystemExit(main())
