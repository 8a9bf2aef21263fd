"""The contract's rules for every error body."""

from __future__ import annotations

from typing import Any

import httpx


def assert_error(answer: httpx.Response, status: int, error: str, *, retryable: bool = False) -> Any:
    """Check the status, and that the body has exactly the three keys."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert set(body) == {"error", "message", "retryable"}
    assert body["error"] == error
    assert body["retryable"] is retryable
    assert isinstance(body["message"], str)
    assert body["message"]
    return body


def assert_nothing_private(answer: httpx.Response) -> None:
    """Check that no internal header is in the answer."""
    private = [
        name for name in answer.headers if name.startswith(("grpc-", "x-error-", "x-http-", "x-envoy-", "x-vyris-"))
    ]
    assert private == []
