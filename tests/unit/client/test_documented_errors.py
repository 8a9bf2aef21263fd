"""The client's docstrings list every error that the protos list for the same call."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from google.protobuf.descriptor import MethodDescriptor

from suite import SUITE
from tests.unit.client.test_twins import public_methods
from vyris.client import AsyncClient
from vyris.errors import ERRORS_BY_REASON
from vyris.gateway.v1 import http_policy_pb2

CALLS: dict[str, MethodDescriptor] = {
    method.name.lower(): method
    for service in SUITE
    for descriptor in service.descriptors
    for method in descriptor.methods
}


@pytest.mark.parametrize("name", [name for name in public_methods(AsyncClient) if name.replace("_", "") in CALLS])
def test_a_docstring_names_every_error_of_its_call(name: str) -> None:
    options: Any = CALLS[name.replace("_", "")].GetOptions()
    reasons = options.Extensions[http_policy_pb2.http_policy].errors
    text = inspect.getdoc(getattr(AsyncClient, name)) or ""
    # Every method may raise RateLimited; the class says so.
    missing = [ERRORS_BY_REASON[reason].__name__ for reason in reasons if reason != "RATE_LIMITED"]
    assert [error for error in missing if error not in text] == []


def test_most_methods_of_the_client_are_calls() -> None:
    assert len([name for name in public_methods(AsyncClient) if name.replace("_", "") in CALLS]) > 15
