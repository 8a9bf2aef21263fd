"""Load named statements from a `queries.sql` file.

Each statement begins with `-- name: snake_case` and a comment with its purpose. A text that several statements share is
written once, under `-- part: snake_case`, and replaces `{snake_case}` in them.
"""

from __future__ import annotations

import re
from pathlib import Path

# The name of each statement's text. Traces contain names instead of texts.
_NAMES: dict[str, str] = {}
_HEAD = re.compile(r"^-- (?P<kind>name|part): (?P<name>[a-z0-9_]+)$", re.MULTILINE)
_PART = re.compile(r"\{(?P<part>[a-z0-9_]+)\}")


def statement_name(statement: str) -> str:
    """The name of a statement from a `queries.sql`; empty for any other."""
    return _NAMES.get(statement, "")


class Queries:
    """The statements of one file by name: `queries["take_slot"]`."""

    def __init__(self, path: Path) -> None:
        pieces = _HEAD.split(path.read_text(encoding="utf-8"))[1:]
        kinds, names, bodies = pieces[0::3], pieces[1::3], pieces[2::3]
        if len(set(names)) != len(names):
            raise ValueError(f"{path.name} names a statement twice")
        texts = {name: body.strip().rstrip(";") for name, body in zip(names, bodies, strict=True)}
        parts = {name: texts.pop(name) for kind, name in zip(kinds, names, strict=True) if kind == "part"}
        self._statements = {name: _PART.sub(lambda found: parts[found["part"]], text) for name, text in texts.items()}
        _NAMES.update((statement, name) for name, statement in self._statements.items())

    def __getitem__(self, name: str) -> str:
        """The SQL of a statement. Raises KeyError for an unknown name."""
        return self._statements[name]

    @classmethod
    def beside(cls, module_file: str) -> Queries:
        """Load the `queries.sql` in the folder of `module_file` (a module's `__file__`)."""
        return cls(Path(module_file).with_name("queries.sql"))
