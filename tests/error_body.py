"""The JSON error of the contract, as tests read it."""

from __future__ import annotations

from typing import Final

import httpx

KEYS: Final = frozenset({"error", "message", "retryable"})


def read_refusal(answer: httpx.Response) -> tuple[int, str]:
    """The status and the error's name. Fails unless the body is JSON with exactly the three keys."""
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert body.keys() == KEYS
    return answer.status_code, body["error"]
