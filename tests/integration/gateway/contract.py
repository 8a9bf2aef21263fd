"""What the contract says about every error body."""

from __future__ import annotations

from typing import Any

import httpx


def assert_error(answer: httpx.Response, status: int, error: str, *, retryable: bool = False) -> Any:
    """The status, and a body of exactly the three keys."""
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
    """No header that carries facts between the parts."""
    private = [
        name for name in answer.headers if name.startswith(("grpc-", "x-error-", "x-http-", "x-envoy-", "x-vyris-"))
    ]
    assert private == []
