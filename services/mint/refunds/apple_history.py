"""Read Apple's histories of notifications and refunds, by the App Store Server API.

Source: Apple, App Store Server API, "Get Notification History" (180 days, 20 a page) and "Get Refund History" (20 a
page). Uses Apple's own client, with our limits of sizes, pages, times and attempts.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from functools import partial
from typing import Any, Final, TypeVar
from urllib.parse import quote

import httpx
from appstoreserverlibrary.api_client import APIException, AsyncAppStoreServerAPIClient
from appstoreserverlibrary.models.Environment import Environment as StoreEnvironment
from appstoreserverlibrary.models.NotificationHistoryRequest import NotificationHistoryRequest
from appstoreserverlibrary.models.NotificationTypeV2 import NotificationTypeV2

from services.mint.receipts.settings import ApiKey
from services.mint.receipts.verified import Environment
from services.mint.refunds.notice import Event

T = TypeVar("T")

ANSWER_LIMIT_BYTES: Final = 4 * 1024 * 1024
ANSWER_LIMIT_S: Final = 20.0
ATTEMPTS: Final = 4
FIRST_PAUSE_S: Final = 1.0
PAGES_LIMIT: Final = 1_000
TOO_MANY: Final = 429
NOT_FOUND: Final = 404
SERVER_FAILS: Final = 500
OTHER_FORM: Final = "Apple's answer does not have the documented form"


class HistoryUnreadable(Exception):
    """Apple's history could not be read; the message says why."""


class _Client(AsyncAppStoreServerAPIClient):
    """Apple's client with a limit of the answer's size, and with another address for tests."""

    def __init__(self, key: ApiKey, bundle_id: str, environment: StoreEnvironment, base_url: str) -> None:
        super().__init__(key.pem, key.key_id, key.issuer_id, bundle_id, environment)
        if base_url:
            self._base_url = base_url

    async def _execute_request(
        self, method: str, url: str, params: Any, headers: dict[str, str], json: Any, data: bytes | None
    ) -> httpx.Response:
        body = bytearray()
        sent = self.http_client.stream(
            method, url, params=params, headers=headers, json=json, content=data, timeout=ANSWER_LIMIT_S
        )
        async with asyncio.timeout(ANSWER_LIMIT_S), sent as answer:
            async for piece in answer.aiter_bytes():
                body += piece
                if len(body) > ANSWER_LIMIT_BYTES:
                    raise HistoryUnreadable(f"Apple's answer is larger than {ANSWER_LIMIT_BYTES} bytes")
        kind = answer.headers.get("content-type", "").partition(";")[0]
        return httpx.Response(answer.status_code, headers={"content-type": kind}, content=bytes(body))


class AppleHistory:
    """Apple's record of one app in one environment. Every method raises HistoryUnreadable."""

    def __init__(self, key: ApiKey, bundle_id: str, environment: Environment, base_url: str = "") -> None:
        """`base_url` is for tests; empty means Apple."""
        store = StoreEnvironment.PRODUCTION if environment == "production" else StoreEnvironment.SANDBOX
        self.environment = environment
        self._client = _Client(key, bundle_id, store, base_url)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.http_client.aclose()

    async def notifications(self, event: Event, since: datetime, until: datetime) -> AsyncIterator[str]:
        """Signed notifications of one kind that Apple sent, or tried to send, in a range of at most 180 days."""
        asked = NotificationHistoryRequest(
            startDate=int(since.timestamp() * 1_000),
            endDate=int(until.timestamp() * 1_000),
            notificationType=NotificationTypeV2(event),
        )
        token: str | None = None
        for _ in range(PAGES_LIMIT):
            page = await _call_with_retries(partial(self._client.get_notification_history, token, asked))
            for item in page.notificationHistory or []:
                if item.signedPayload:
                    yield item.signedPayload
            if _is_last(page.hasMore):
                return
            token = _next(page.paginationToken, token)
        raise HistoryUnreadable(f"Apple's notification history has more than {PAGES_LIMIT} pages of one kind")

    async def refunds(self, transaction_id: str) -> AsyncIterator[str]:
        """Signed refunded transactions of the customer who made this purchase; none if Apple knows none."""
        revision: str | None = None
        for _ in range(PAGES_LIMIT):
            try:
                page = await _call_with_retries(
                    partial(self._client.get_refund_history, quote(transaction_id, safe=""), revision)
                )
            except _Unknown:
                return
            for signed in page.signedTransactions or []:
                yield signed
            if _is_last(page.hasMore):
                return
            revision = _next(page.revision, revision)
        raise HistoryUnreadable(f"Apple's refund history of one customer has more than {PAGES_LIMIT} pages")


class _Unknown(HistoryUnreadable):
    """Apple does not know the purchase."""


def _is_last(has_more: bool | None) -> bool:
    if not isinstance(has_more, bool):
        raise HistoryUnreadable(OTHER_FORM)
    return not has_more


def _next(token: str | None, before: str | None) -> str:
    if not token or token == before:
        raise HistoryUnreadable("Apple's history does not say how it goes on")
    return token


async def _call_with_retries(ask: Callable[[], Awaitable[T]]) -> T:
    """Call Apple, and retry after temporary failures. Raises HistoryUnreadable."""
    for attempt in range(ATTEMPTS):
        try:
            return await ask()
        except APIException as refusal:
            status = refusal.http_status_code
            problem = f"Apple answers {status}"
            if status == NOT_FOUND:
                raise _Unknown(problem) from None
            if status != TOO_MANY and status < SERVER_FAILS:
                raise HistoryUnreadable(_why_refused(status)) from None
        except (httpx.HTTPError, TimeoutError, OSError) as error:
            problem = f"Apple does not answer ({type(error).__name__})"
        except (ValueError, TypeError, KeyError, AttributeError, ExceptionGroup):
            # The client could not build its models from the answer.
            raise HistoryUnreadable(OTHER_FORM) from None
        if attempt < ATTEMPTS - 1:
            await asyncio.sleep(FIRST_PAUSE_S * 2**attempt)
    raise HistoryUnreadable(f"{problem}, {ATTEMPTS} times")


def _why_refused(status: int) -> str:
    if status in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
        return (
            f"Apple refuses the key ({status}): check APP_STORE_API_KEY, APP_STORE_API_KEY_ID and "
            "APP_STORE_API_ISSUER_ID (App Store Connect, Users and Access, Integrations, In-App Purchase)"
        )
    return f"Apple refuses the request ({status})"
