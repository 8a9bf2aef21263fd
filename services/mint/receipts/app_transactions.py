"""AppTransactions: signed proof of the Apple account that installed the app, before any purchase.

There is one `appTransactionId` for each Apple account and app. Apple's own library verifies chain, signature, app and
environment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

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
        self._verifier = SignedDataVerifier(trusted, online_checks, Environment.PRODUCTION, bundle_id, app_id)
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
                proven = await asyncio.get_running_loop().run_in_executor(
                    self._thread, self._verifier.verify_and_decode_app_transaction, signed
                )
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
