"""`req`: what a device signs about its request, computable with a shell and a hash."""

from __future__ import annotations

import base64
import hashlib

import pytest
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
from google.protobuf.type_pb2 import Option
from google.protobuf.wrappers_pb2 import DoubleValue
from google.rpc.status_pb2 import Status

from vyris.device_proof import request_digest
from vyris.encounter.v1.encounter_pb2 import ListEncountersRequest
from vyris.gateway.v1.http_policy_pb2 import HttpPolicy
from vyris.mint.v1.mint_pb2 import Device, MintRequest
from vyris.reforge.v1.reforge_pb2 import InitReforgeRequest
from vyris.wallet.v1.wallet_pb2 import IssuePassRequest


def digest_of(lines: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(lines.encode()).digest()).rstrip(b"=").decode()


def test_the_digest_is_what_a_shell_computes() -> None:
    # printf 'membership_id=m-1\nuser_id=u-1\n' | openssl dgst -sha256 -binary | basenc --base64url
    assert (
        request_digest(IssuePassRequest(user_id="u-1", membership_id="m-1"))
        == "6V3_B8Ss5SKR4os8jzY0ukowPNJ_t-y_rAFg9gMVkUQ"
    )


@pytest.mark.parametrize(
    ("request_message", "lines"),
    [
        (IssuePassRequest(), ""),
        (IssuePassRequest(user_id="é"), "user_id=é\n"),
        (ListEncountersRequest(membership_id="m", page_size=20), "membership_id=m\npage_size=20\n"),
        (
            InitReforgeRequest(new_public_key="A\nB\\C\r", old_device_id="d"),
            "new_public_key=A\\nB\\\\C\r\nold_device_id=d\n",
        ),
        (MintRequest(user_id="u", device=Device(device_id="d")), "user_id=u\ndevice.device_id=d\n"),
        (MintRequest(device=Device()), "device=\n"),
        (
            HttpPolicy(success_status=201, status_from_service=True, query_parameters=["a", "b"]),
            "success_status=201\nstatus_from_service=true\nquery_parameters.0=a\nquery_parameters.1=b\n",
        ),
        (Status(code=-1, details=[Option().value]), "code=-1\ndetails.0=\n"),
    ],
)
def test_each_kind_of_field_has_one_form(request_message: Message, lines: str) -> None:
    assert request_digest(request_message) == digest_of(lines)


def test_a_line_end_inside_a_value_cannot_pose_as_another_field() -> None:
    honest = InitReforgeRequest(new_public_key="K", old_device_id="d")
    posing = InitReforgeRequest(new_public_key="K\nold_device_id=d")
    escaped = InitReforgeRequest(new_public_key="K\\nold_device_id=d")
    assert len({request_digest(request) for request in (honest, posing, escaped)}) == 3


def test_a_value_without_a_form_is_refused_and_not_left_out() -> None:
    with pytest.raises(TypeError, match="floating point"):
        request_digest(DoubleValue(value=1.5))
    with_map = Struct()
    with_map["a"] = "b"
    with pytest.raises(TypeError, match="map"):
        request_digest(with_map)
