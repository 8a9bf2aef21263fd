"""The caller's address: from the gateway, or else the other end of the connection."""

from __future__ import annotations

import pytest

from services.reforge.callers import UNKNOWN, network_address
from services.server.grpc_server.rpc import Rpc
from services.server.runtime.addresses import peer_address
from services.server.runtime.call import CALLER_ADDRESS_KEY, Call
from tests.unit.server.grpc_server.served import served, unary
from vyris.mint.v1 import mint_pb2

METHOD = mint_pb2.DESCRIPTOR.services_by_name["MintService"].methods_by_name["Mint"]


async def _address(request: bytes, rpc: Rpc) -> bytes:
    return network_address(Call(rpc, METHOD, "/x", 10.0)).encode()


@pytest.mark.usefixtures("grpc_server")
@pytest.mark.parametrize(
    ("metadata", "shown"),
    [
        ((), "127.0.0.1"),
        (((CALLER_ADDRESS_KEY, "203.0.113.9"),), "203.0.113.9"),
        (((CALLER_ADDRESS_KEY, "2001:DB8::0001"),), "2001:db8::1"),
        (((CALLER_ADDRESS_KEY, "::ffff:203.0.113.9"),), "203.0.113.9"),
        (((CALLER_ADDRESS_KEY, "203.0.113.9"), ("x-forwarded-for", "198.51.100.7, 10.0.0.1")), "203.0.113.9"),
        # Any caller can write this header; only the gateway knows how many of its entries to trust.
        ((("x-forwarded-for", "198.51.100.7"),), "127.0.0.1"),
        (((CALLER_ADDRESS_KEY, "<script>"),), UNKNOWN),
    ],
)
async def test_the_address_is_the_gateways_or_the_connections(
    metadata: tuple[tuple[str, str], ...], shown: str
) -> None:
    async with served(Address=unary(_address)) as running:
        assert await running.call("Address", metadata=metadata) == shown.encode()


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:192.0.2.7:51000", "192.0.2.7"),
        ("ipv6:%5B2001:db8::1%5D:51000", "2001:db8::1"),
        ("ipv6:[::ffff:192.0.2.7]:51000", "192.0.2.7"),
        ("unix:", ""),
        ("unix:/run/vyris.sock", ""),
        ("", ""),
    ],
)
def test_peer_names_of_grpc_are_parsed(peer: str, address: str) -> None:
    assert peer_address(peer) == address
