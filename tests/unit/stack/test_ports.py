"""Ports that are free, taken or reserved."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from stack.ports import PortTaker, is_free, refuse_taken
from stack.refusal import StackRefused


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_taken_port_is_named_with_the_setting_that_moves_it(taken_port: int) -> None:
    with pytest.raises(StackRefused, match=rf"Port {taken_port} is taken.*set GATEWAY_PORT to another port\.$"):
        refuse_taken({"GATEWAY_PORT": taken_port})


def test_one_port_for_two_listeners_is_refused() -> None:
    free = PortTaker(set()).free_port()
    with pytest.raises(StackRefused, match=f"MINT_PORT and WALLET_PORT are both {free}"):
        refuse_taken({"MINT_PORT": free, "WALLET_PORT": free})


def test_no_port_is_handed_out_twice_or_while_it_is_reserved() -> None:
    taker = PortTaker({20_000})
    given = [taker.free_port() for _ in range(50)]
    assert len(set(given)) == 50
    assert 20_000 not in given
    assert all(is_free(port) for port in given)


def test_a_port_that_a_closed_connection_still_holds_is_reported_as_such() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        port = client.getsockname()[1]
        with server.accept()[0]:
            client.shutdown(socket.SHUT_RDWR)  # the side that closes first keeps the port for a minute
    with pytest.raises(StackRefused, match=f"Port {port} is taken for a minute at most"):
        refuse_taken({"MINT_PORT": port})
