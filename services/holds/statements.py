"""The statements of holds, by name: `queries.sql`."""

from __future__ import annotations

from typing import Final

from services.data.storage.queries import Queries

QUERIES: Final = Queries.beside(__file__)
