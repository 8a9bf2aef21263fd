"""Short forms of what Envoy's configuration messages ask for again and again."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from envoy.config.core.v3.address_pb2 import Address, SocketAddress
from envoy.config.core.v3.base_pb2 import HeaderValue, HeaderValueOption
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import BoolValue, UInt32Value


def packed(message: Message) -> AnyMessage:
    """Wrap `message` as a typed extension configuration."""
    wrapped = AnyMessage()
    wrapped.Pack(message)
    return wrapped


def number(value: int) -> UInt32Value:
    """Set an optional unsigned number."""
    return UInt32Value(value=value)


def flag(value: bool) -> BoolValue:
    """Set an optional truth."""
    return BoolValue(value=value)


def seconds(value: float) -> timedelta:
    """Give a span of time the form that Duration fields take."""
    return timedelta(seconds=value)


def replaced_header(name: str, value: str) -> Any:
    """Set a header, whatever may be there."""
    action = HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD
    return HeaderValueOption(header=HeaderValue(key=name, value=value), append_action=action)


def added_header(name: str, value: str) -> Any:
    """Set a header where it is absent."""
    return HeaderValueOption(header=HeaderValue(key=name, value=value), append_action=HeaderValueOption.ADD_IF_ABSENT)


def socket_address(host: str, port: int) -> Any:
    """Name a place to bind or connect to."""
    return Address(socket_address=SocketAddress(address=host, port_value=port))
