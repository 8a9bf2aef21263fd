"""AppTransactions: signed proof of the Apple account that installed the app, before any purchase.

There is one `appTransactionId` for each Apple account and app. Apple's own library verifies chain, signature, app and
environment. A phone may keep a text for years, so certificates must be valid at the text's own date.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Final

import jwt
from appstoreserverlibrary.models.AppTransaction import AppTransaction
from appstoreserverlibrary.models.Environment import Environment
from appstoreserverlibrary.signed_data_verifier import (
    SignedDataVerifier,
    VerificationException,
    VerificationStatus,
)
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from vyris.errors import Retryable, Unauthorized

WAITING_LIMIT: Final = 256
PROOF_LIMIT_S: Final = 5.0
ID_LIMIT: Final = 128


class AppTransactions:
    """Proves store accounts for one app, one AppTransaction at a time."""

    def __init__(self, roots: Sequence[x509.Certificate], bundle_id: str, app_id: int, *, online_checks: bool) -> None:
        """`online_checks` asks Apple's OCSP responder whether a certificate was revoked."""
        trusted = [root.public_bytes(Encoding.DER) for root in roots]
        self._verifier, self._online_verifier = (
            SignedDataVerifier(trusted, online, Environment.PRODUCTION, bundle_id, app_id) for online in (False, True)
        )
        self._online_checks = online_checks
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="app-transaction")
        self._waiting = 0

    def close(self) -> None:
        """End the thread. Waiting work is dropped."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def account(self, signed: str) -> str:
        """The `appTransactionId` of a signed AppTransaction. Raises Unauthorized, Retryable."""
        if self._waiting >= WAITING_LIMIT:
            raise Retryable.shed()
        self._waiting += 1
        try:
            async with asyncio.timeout(PROOF_LIMIT_S):
                proven = await asyncio.get_running_loop().run_in_executor(self._thread, self._verify, signed)
        except TimeoutError:
            raise Retryable from None
        except VerificationException as failure:
            if failure.status == VerificationStatus.RETRYABLE_VERIFICATION_FAILURE:
                raise Retryable from None
            raise Unauthorized("app_transaction: the App Store did not sign it for this app") from None
        except (ValueError, TypeError, KeyError, AttributeError, ExceptionGroup):
            raise Unauthorized("app_transaction: it does not have the App Store's form") from None
        finally:
            self._waiting -= 1
        account = proven.appTransactionId
        if not account or len(account) > ID_LIMIT:
            raise Unauthorized("app_transaction: it names no account (appTransactionId)")
        return account

    def _verify(self, signed: str) -> AppTransaction:
        """Runs in the thread. OCSP does not answer about certificates that have expired since (`revocation_checks`)."""
        proven = self._verifier.verify_and_decode_app_transaction(signed)
        if self._online_checks and not _has_expired(signed):
            self._online_verifier.verify_and_decode_app_transaction(signed)
        return proven


def _has_expired(signed: str) -> bool:
    """Whether a certificate of a proven text is no longer valid."""
    chain = [base64.b64decode(text) for text in jwt.get_unverified_header(signed)["x5c"]]
    return any(x509.load_der_x509_certificate(der).not_valid_after_utc <= datetime.now(UTC) for der in chain)
