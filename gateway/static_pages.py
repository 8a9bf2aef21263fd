"""Pages that the gateway serves itself, from the `static` folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict

PAGE_LIMIT_BYTES: Final = 1 << 20
"""Envoy keeps the pages in its configuration, so their size is limited."""

_STRICT_CSP: Final = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"


class PageEntry(BaseModel):
    """One entry of `pages.json`."""

    model_config = ConfigDict(extra="forbid")

    path: str
    """Path of the page; a variable in braces matches one segment."""
    file: str
    """File in the folder."""
    content_type: str
    content_security_policy: str = _STRICT_CSP
    cache_control: str = "public, max-age=300"
    accept: str = ""
    """Media type that a request has to accept to get this page; all other requests go to the RPC of the same path.
    Empty: every request gets the page."""


class PageList(BaseModel):
    """`pages.json`."""

    model_config = ConfigDict(extra="forbid")

    pages: list[PageEntry]


@dataclass(frozen=True)
class StaticPage:
    """A page ready to be served."""

    path: str
    body: bytes
    headers: dict[str, str]
    accept: str = ""


def _read_page(file: Path) -> bytes:
    body = file.read_bytes()
    if len(body) > PAGE_LIMIT_BYTES:
        raise ValueError(f"{file.name} is larger than {PAGE_LIMIT_BYTES} bytes")
    return body


def load_pages(folder: Path) -> list[StaticPage]:
    """Read all pages that `folder/pages.json` lists."""
    entries = PageList.model_validate(json.loads((folder / "pages.json").read_text(encoding="utf-8"))).pages
    return [
        StaticPage(
            path=entry.path,
            body=_read_page(folder / entry.file),
            headers={
                "content-type": entry.content_type,
                "content-security-policy": entry.content_security_policy,
                "cache-control": entry.cache_control,
                "x-content-type-options": "nosniff",
                "x-frame-options": "DENY",
                "referrer-policy": "no-referrer",
                "cross-origin-opener-policy": "same-origin",
                **({"vary": "accept"} if entry.accept else {}),
            },
            accept=entry.accept,
        )
        for entry in entries
    ]
