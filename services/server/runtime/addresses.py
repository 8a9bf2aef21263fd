"""IP addresses as text."""

from __future__ import annotations

import ipaddress
from urllib.parse import unquote


def ip_address_of(text: str) -> str:
    """The address in its usual form, an IPv4 address inside IPv6 as IPv4; empty if `text` is not an address."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return ""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def peer_address(peer: str) -> str:
    """The address in gRPC's name of a peer (`ipv4:192.0.2.7:51000`, `ipv6:%5B::1%5D:51000`); empty for a socket."""
    _, _, place = peer.partition(":")
    host, _, _ = unquote(place).rpartition(":")
    return ip_address_of(host.removeprefix("[").removesuffix("]"))
