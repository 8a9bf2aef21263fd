"""Compare two addresses: RFC 9449 section 4.3 for `htu`, normalised by RFC 3986 section 6.2."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

# The characters of RFC 3986. `urlsplit` drops white space and control characters; we refuse an address with any of
# them.
_URI: Final = re.compile(r"[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]+")
_ESCAPE: Final = re.compile(r"%([0-9A-Fa-f]{2})")
_BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_UNRESERVED: Final = re.compile(r"[A-Za-z0-9._~-]")
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


def is_same_address(claimed: object, expected: str) -> bool:
    """Whether the claim `htu` names `expected`; its query and fragment are ignored.

    `expected` is an http or https URL, or the path of a native gRPC call, which has one spelling.
    """
    if not isinstance(claimed, str):
        return False
    if claimed == expected:
        return True
    if expected.startswith("/"):
        return False
    normal = _normalise(claimed)
    return normal is not None and normal == _normalise(expected)


def _normalise(address: str) -> tuple[str, str, int | None, str] | None:
    """Return scheme, host, port and path; None if `address` is not an http or https URL."""
    if not _URI.fullmatch(address) or _BAD_ESCAPE.search(address):
        return None
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        return None
    default_port = _DEFAULT_PORTS.get(parts.scheme)  # urlsplit gives the scheme in lower case
    if default_port is None or not parts.hostname or "@" in parts.netloc:
        return None
    host = _ESCAPE.sub(_normalise_escape, parts.hostname).lower()
    return parts.scheme, host, port or default_port, _remove_dot_segments(_ESCAPE.sub(_normalise_escape, parts.path))


def _normalise_escape(found: re.Match[str]) -> str:
    """Section 6.2.2: decode an unreserved character, write any other escape in capitals."""
    character = chr(int(found[1], 16))
    return character if _UNRESERVED.fullmatch(character) else found[0].upper()


def _remove_dot_segments(path: str) -> str:
    """Section 5.2.4, `remove_dot_segments`; an empty path is `/` (section 6.2.3)."""
    kept: list[str] = []
    segments = path.split("/")[1:]
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if segments and segments[-1] in {".", ".."}:
        kept.append("")
    return "/" + "/".join(kept)
