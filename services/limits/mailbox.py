"""One spelling for a mailbox, so that it counts once."""

from __future__ import annotations

from typing import Final

import idna

LENGTH_LIMIT: Final = 254
# Providers that ignore dots, and everything after a plus sign, in a mailbox's name. Others may not.
FOLDING_DOMAINS: Final = {"gmail.com": "gmail.com", "googlemail.com": "gmail.com"}


def mailbox(address: str) -> str | None:
    """Return the address as it is counted: domain in IDNA, name in lower case; None if the text is no address."""
    name, at, domain = address.strip().rpartition("@")
    if not at or not name or len(address) > LENGTH_LIMIT or not address.isprintable() or " " in address.strip():
        return None
    try:
        domain = idna.encode(domain, uts46=True).decode("ascii").lower()
    except idna.IDNAError:
        return None
    name = name.lower()  # casefold() would give ß and ss, two mailboxes, one spelling
    if domain in FOLDING_DOMAINS:
        domain = FOLDING_DOMAINS[domain]
        name = name.partition("+")[0].replace(".", "")
    return f"{name}@{domain}" if name else None
