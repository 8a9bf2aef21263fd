"""The contract's rules for every error body."""

from __future__ import annotations

from typing import Any

import httpx

from tests.error_body import read_refusal


def assert_error(answer: httpx.Response, status: int, error: str, *, retryable: bool = False) -> Any:
    """Check the status, and that the body has exactly the three keys."""
    assert answer.status_code == status, answer.text
    assert read_refusal(answer) == (status, error)
    body = answer.json()
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
