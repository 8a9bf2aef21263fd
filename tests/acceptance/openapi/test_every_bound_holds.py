"""Each bound in the protos is kept: a request with one value out of bounds is refused through the gateway."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf import message_factory
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor

from gateway.openapi.examples import PARAMETERS, PUBLIC_KEY
from stack.local import Stack
from suite import SUITE
from vyris.bounds import Bounds, read_bounds

BASE: dict[str, Any] = PARAMETERS | {
    "page_token": "",
    "user_id": "ada",
    "receipt_data": "receipt-0001",
    "device_id": "phone-a",
    "new_device_id": "phone-b",
    "public_key": PUBLIC_KEY,
    "new_public_key": PUBLIC_KEY,
    "signed_payload": "a.b.c",
    "push_token": "0123456789abcdef",
    "email": "ada@example.org",
    "original_transaction_id": "1",
}
# By the contract, other checks come first or the answer differs from INVALID_ARGUMENT.
OTHERS = {
    # Wrong inside.
    ("VerifyEncounterRequest", "token", "long"): grpc.StatusCode.UNAUTHENTICATED,
    # The pass's own token comes first, as Apple documents.
    **{
        (message, name, fault): grpc.StatusCode.UNAUTHENTICATED
        for message in ("RegisterPassDeviceRequest", "UnregisterPassDeviceRequest")
        for name in ("device_library_id", "push_token")
        for fault in ("long", "short", "blank")
    },
    # There is no such page.
    **{
        (message, "page", "low"): grpc.StatusCode.NOT_FOUND
        for message in ("ListLeavesRequest", "ListWithdrawnRequest", "ListOffersRequest")
    },
}


def faults(bounds: Bounds) -> Iterator[tuple[str, Any]]:
    """Values out of bounds, each with the name of its fault."""
    limit = bounds.max_len if bounds.max_bytes is None else bounds.max_bytes
    if limit is not None:
        yield "long", "a" * (limit + 1)
    if bounds.max_bytes is not None:
        yield "long", "é" * (bounds.max_bytes // 2 + 1)
    if not bounds.may_be_empty and (bounds.required or bounds.min_len or bounds.min_bytes or bounds.pattern):
        yield "short", ""
    if bounds.pattern:
        yield ("blank", "  ") if bounds.pattern == r"\S" else ("form", "Ä")
    if bounds.values:
        yield "value", "nonsense"
    if bounds.gte is not None:
        yield "low", bounds.gte - 1
    if bounds.lte is not None:
        yield "high", bounds.lte + 1


def base(message: Any, *, with_devices: bool) -> Any:
    """A request with a value in each field that has bounds."""
    request = message_factory.GetMessageClass(message)()
    for field in message.fields:
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            if with_devices and field.name == "device":
                getattr(request, field.name).CopyFrom(base(field.message_type, with_devices=False))
        elif field.name in BASE and not field.is_repeated:
            setattr(request, field.name, BASE[field.name])
    return request


def wrong_requests(method: MethodDescriptor) -> Iterator[tuple[tuple[str, str, str], Any]]:
    message: Any = method.input_type
    for field in message.fields:
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            for inner in field.message_type.fields if field.name == "device" else ():
                for fault, value in faults(read_bounds(inner.GetOptions())):
                    request = base(message, with_devices=True)
                    setattr(request.device, inner.name, value)
                    yield (message.name, f"device.{inner.name}", fault), request
            continue
        bounds = read_bounds(field.GetOptions())
        for fault, value in faults(bounds):
            request = base(message, with_devices=False)
            setattr(request, field.name, value)
            yield (message.name, field.name, fault), request


def methods() -> list[MethodDescriptor]:
    descriptors = [one for service in SUITE for one in service.descriptors]
    # The gateway does not route operators' calls.
    return [method for one in descriptors if one.name != "OperatorService" for method in one.methods]


@pytest.mark.timeout(60)
def test_a_value_out_of_bounds_is_refused(stack: Stack) -> None:
    found: dict[tuple[str, str, str], set[grpc.StatusCode]] = {}
    with grpc.insecure_channel(stack.gateway_grpc_target) as channel:
        for method in methods():
            call = channel.unary_stream if method.server_streaming else channel.unary_unary
            send: Any = call(
                f"/{method.containing_service.full_name}/{method.name}",
                request_serializer=lambda request: request.SerializeToString(),
                response_deserializer=bytes,
            )
            for place, request in wrong_requests(method):
                with pytest.raises(grpc.RpcError) as caught:
                    answer = send(request, timeout=10)
                    if method.server_streaming:
                        next(answer)
                found.setdefault(place, set()).add(caught.value.code())
    wrong = {
        place: codes for place, codes in found.items() if codes != {OTHERS.get(place, grpc.StatusCode.INVALID_ARGUMENT)}
    }
    assert wrong == {}
    assert len(found) > 70
