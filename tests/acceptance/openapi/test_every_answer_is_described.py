"""Schemathesis reads the served OpenAPI document and tries to get an answer that it does not describe."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from stack.local import Stack
from tests.signers.mint import proof_headers
from vyris.client import Device

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
# Examples by chance for each operation, besides the 1,200 that follow from the document. Half a minute of CPU for the
# first ones: `make fuzz-document` asks for them.
EXAMPLES = int(os.environ.get("EXAMPLES", "0"))
LIMIT_S = 140 + 10 * EXAMPLES


@pytest.mark.timeout(LIMIT_S + 60)
def test_no_answer_is_undescribed_and_no_callers_mistake_is_a_server_error(stack: Stack, tmp_path: Path) -> None:
    command = [
        str(Path(sys.executable).with_name("schemathesis")),
        "run",
        f"{stack.gateway_url}/openapi.json",
        f"--checks={','.join(CHECKS)}",
        f"--max-examples={max(1, EXAMPLES)}",
        f"--phases=examples,coverage{',fuzzing' if EXAMPLES else ''}",
        "--mode=all",
        "--generation-deterministic",
        "--suppress-health-check=all",
        "--continue-on-failure",
        "--no-color",
    ]
    # In a folder of its own, because it leaves a cache and reads settings there.
    finished = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    output = finished.stdout + finished.stderr
    assert finished.returncode == 0, output
    tested = re.search(r"Tested: (\d+)", output)
    generated = re.search(r"(\d+) generated", output)
    assert tested, output
    assert generated, output
    # All but the one from which it fetched the document.
    assert int(tested[1]) == len(_operations(stack)) - 1
    assert int(generated[1]) > 10 * int(tested[1])


def _operations(stack: Stack) -> list[dict[str, Any]]:
    document = httpx.get(f"{stack.gateway_url}/openapi.json", timeout=15).json()
    return [operation for methods in document["paths"].values() for operation in methods.values()]


def test_the_document_is_served_as_it_is_checked_in(stack: Stack) -> None:
    answer = httpx.get(f"{stack.gateway_url}/openapi.json", timeout=15)
    assert answer.headers["content-type"] == "application/json"
    static = Path(__file__).resolve().parents[3] / "gateway" / "static"
    assert answer.content == (static / "openapi.json").read_bytes()


def test_the_first_examples_succeed_unchanged(stack: Stack) -> None:
    document = httpx.get(f"{stack.gateway_url}/openapi.json", timeout=15).json()
    mint = document["paths"]["/mint"]["post"]["requestBody"]["content"]["application/json"]["examples"]
    with httpx.Client(base_url=stack.gateway_url, timeout=15) as client:
        for name, example in mint.items():
            body, key = example["value"], None
            if "device" in body:  # The page that shows the example has a device of its own, whose key it puts here.
                phone = Device.generate("phone-a")
                body["device"]["public_key"], key = phone.public_key_pem, phone.key
            answer = client.post("/mint", json=body, headers=proof_headers(body, key))
            assert answer.status_code == 201, (name, answer.text)
        owner = document["paths"]["/issue-pass"]["post"]["requestBody"]["content"]["application/json"]["examples"][
            "owner"
        ]
        membership = client.post("/mint", json=mint["smallest"]["value"]).json()["membership"]
        body = owner["value"] | {"membership_id": membership["id"]}
        answer = client.post("/issue-pass", json=body)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "application/vnd.apple.pkpass"
