"""Array arguments of a statement that unnests them into columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def sparse(column: Sequence[T | None]) -> Sequence[T | None]:
    """Return an empty array if all values are None: `unnest` fills it up with NULLs, and it costs less."""
    return column if any(value is not None for value in column) else ()
