"""A short slice of the acceptance tests against services with `GRPC_SERVER=aio`.

`pytest --grpc-server aio tests/acceptance` runs all of them.
"""

from __future__ import annotations

import json
import signal
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from stack.local import Stack
from tests.acceptance.encounter.conftest import gateway, members, signer
from tests.acceptance.encounter.test_encounters import (
    test_a_request_without_a_token_answers_422,
    test_an_encounter_answers_201_with_the_documented_keys,
    test_native_grpc_gives_the_same_answers,
)
from tests.acceptance.mint.conftest import MakeDrop, database, make_drop, sender
from tests.acceptance.mint.test_contract import (
    test_64_copies_at_once_get_one_membership,
    test_a_mint_has_exactly_the_documented_fields,
    test_a_native_call_is_bounded_like_a_body,
    test_a_watched_drop_is_sent_at_once_and_after_each_change,
    test_another_users_receipt_reveals_nothing_about_the_membership,
    test_text_that_is_not_utf8_is_invalid_and_reveals_no_parser_error,
)
from tests.acceptance.reforge.test_journey import (
    journey,
    test_a_membership_moves_from_device_to_device,
    test_the_page_can_be_opened_by_scanners_and_still_confirms,
)

__all__ = [  # what pytest collects here
    "database",
    "gateway",
    "journey",
    "make_drop",
    "members",
    "sender",
    "signer",
    "test_64_copies_at_once_get_one_membership",
    "test_a_membership_moves_from_device_to_device",
    "test_a_mint_has_exactly_the_documented_fields",
    "test_a_native_call_is_bounded_like_a_body",
    "test_a_request_without_a_token_answers_422",
    "test_a_watched_drop_is_sent_at_once_and_after_each_change",
    "test_an_encounter_answers_201_with_the_documented_keys",
    "test_another_users_receipt_reveals_nothing_about_the_membership",
    "test_native_grpc_gives_the_same_answers",
    "test_text_that_is_not_utf8_is_invalid_and_reveals_no_parser_error",
    "test_the_page_can_be_opened_by_scanners_and_still_confirms",
]

ENCOUNTER = "vyris.encounter.v1.EncounterService"
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """A stack with the other server."""
    with tempfile.TemporaryDirectory(prefix="vyris-aio-") as folder:
        environment = {"GRPC_SERVER": "aio", "DRAIN_DELAY_MS": "500", "DRAIN_LIMIT_MS": "500"}
        with Stack.isolated(Path(folder) / "state", environment=environment) as running:
            yield running


def log_of(stack: Stack, process: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stack.log_file(process).read_text().splitlines() if line.startswith("{")]


@pytest.mark.parametrize("service", ["mint", "encounter", "wallet", "reforge"])
def test_every_service_runs_with_the_other_server(stack: Stack, service: str) -> None:
    assert {line["grpc_server"] for line in log_of(stack, service) if line["event"] == "serving"} == {"aio"}


async def test_one_more_than_the_drop_has_is_sold_out_and_a_replay_is_answered(
    stack: Stack, make_drop: MakeDrop
) -> None:
    drop = await make_drop(1)
    first = {"receipt_data": f"receipt-{uuid.uuid4()}", "user_id": "ada", **drop}
    async with httpx.AsyncClient(base_url=stack.gateway_url) as client:
        minted, replayed, refused = [
            await client.post("/mint", json=body)
            for body in (first, first, {**first, "receipt_data": "another", "user_id": "ben"})
        ]
    assert replayed.json() == {**minted.json(), "replayed": True}
    assert (refused.status_code, refused.json()["error"]) == (410, "SOLD_OUT")


def test_a_process_that_ends_says_so_to_who_watches_and_is_alive_meanwhile(stack: Stack) -> None:
    with grpc.insecure_channel(stack.target("encounter")) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        watching = stub.Watch(health_pb2.HealthCheckRequest(service=ENCOUNTER), timeout=20)
        assert next(watching).status == SERVING
        old_pid = stack.pid("encounter")
        stack.kill("encounter", signal.SIGTERM)
        assert next(watching).status == NOT_SERVING
        assert stub.Check(health_pb2.HealthCheckRequest(), timeout=5).status == SERVING
        with pytest.raises(grpc.RpcError):
            next(watching)
    deadline = time.monotonic() + 20
    while stack.pid("encounter") in {0, old_pid} or not stack.is_ready("encounter"):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert any(line["event"] == "stopped" for line in log_of(stack, "encounter"))
