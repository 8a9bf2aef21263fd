"""Arrays as arguments of a statement that unnests them into columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def sparse(column: Sequence[T | None]) -> Sequence[T | None]:
    """Nothing where nothing is set: `unnest` fills up what is short, and an array costs by its elements."""
    return column if any(value is not None for value in column) else ()
