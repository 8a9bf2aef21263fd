"""Texts that the App Store signed: transactions and server notifications.

Apple's own library proves the certificate chain and the signature; what follows under
a chain that it proved is checked against the proven leaf key alone. Of the library only
its public interface is used, and never with an environment in which it checks nothing.

Measured on one core: 2.6 ms through the library, 0.3 ms under a proven chain. So the
first goes through a thread, one at a time, and the second runs where it is, paced.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

from appstoreserverlibrary.models.Environment import Environment
from appstoreserverlibrary.models.ResponseBodyV2DecodedPayload import ResponseBodyV2DecodedPayload
from appstoreserverlibrary.signed_data_verifier import (
    SignedDataVerifier,
    VerificationException,
    VerificationStatus,
)
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from services.jose import PLAIN_JWT, Token, TokenRefused, read_token, verify_token
from services.mint.receipts.pace import Pace
from services.mint.receipts.proven_chains import Chain, ProvenChains
from services.mint.receipts.verified import RECEIPT_LIMIT_BYTES
from vyris.errors import Retryable

T = TypeVar("T")

TEXT_LIMIT_BYTES: Final = RECEIPT_LIMIT_BYTES
CHAIN_LENGTH: Final = 3
CERTIFICATE_LIMIT: Final = 4_096  # characters of base64; Apple's have about 1,500
PROOF_LIMIT_S: Final = 5.0  # Apple's OCSP responder, where it is asked, may keep the thread longer
UNPROVEN_LIMIT: Final = 256  # texts that wait for the thread
PIECES_A_TURN: Final = 8
MILLISECONDS: Final = 1_000

_REFUSALS: Final = {
    VerificationStatus.INVALID_APP_IDENTIFIER: "it is for another app",
    VerificationStatus.INVALID_ENVIRONMENT: "it is for another of the App Store's environments",
}
NOT_GENUINE: Final = "it is not signed by the App Store"
EXPIRED: Final = "the certificate that signed it was not valid at that time"


class NotSigned(Exception):
    """The App Store did not sign this text for this app; `reason` goes on from "…, because "."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class AppStoreSignatures:
    """Proves what the App Store signed, for one app."""

    def __init__(self, roots: Sequence[x509.Certificate], bundle_id: str, app_id: int, *, online_checks: bool) -> None:
        """`online_checks` asks Apple's OCSP responder whether a certificate was revoked, for each chain anew."""
        trusted = [root.public_bytes(Encoding.DER) for root in roots]
        self._verifiers = {
            environment: SignedDataVerifier(trusted, online_checks, environment, bundle_id, app_id)
            for environment in (Environment.PRODUCTION, Environment.SANDBOX)
        }
        self._bundle_id = bundle_id
        self._chains = ProvenChains(roots)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="app-store")
        self._turn = asyncio.Lock()
        self._unproven = 0
        self._pace = Pace(PIECES_A_TURN)

    def close(self) -> None:
        """End the thread; what waits for it is dropped."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def transaction(self, text: str) -> Mapping[str, Any]:
        """The claims of a signed transaction (JWSTransaction) for this app. Raises NotSigned, Retryable."""
        await self._pace.turn()
        token = _read(text)
        environment = known_environment(token.claims.get("environment"))
        if token.claims.get("bundleId") != self._bundle_id:
            raise NotSigned(_REFUSALS[VerificationStatus.INVALID_APP_IDENTIFIER])
        chain, signed_at_s = _chain(token), _signed_at_s(token)
        if not self._signed_under_proven_chain(token, chain, signed_at_s):
            async with self._turn_of_unproven():
                # The chain may have been proven while this one waited.
                if not self._signed_under_proven_chain(token, chain, signed_at_s):
                    verifier = self._verifiers[environment]
                    await self._in_thread(
                        lambda: verifier.verify_and_decode_signed_transaction(text), chain, signed_at_s
                    )
                    self._chains.remember(chain)
        return token.claims

    async def notification(self, text: str) -> ResponseBodyV2DecodedPayload:
        """A server notification (responseBodyV2DecodedPayload) for this app. Raises NotSigned, Retryable."""
        token = _read(text)
        verifier = self._verifiers[known_environment(_told_environment(token.claims))]
        async with self._turn_of_unproven():
            return await self._in_thread(
                lambda: verifier.verify_and_decode_notification(text), _chain(token), _signed_at_s(token)
            )

    def _signed_under_proven_chain(self, token: Token, chain: Chain, signed_at_s: float) -> bool:
        key = self._chains.leaf_key(chain, signed_at_s)
        if key is None:
            return False
        try:
            verify_token(token, key)
        except TokenRefused:
            raise NotSigned(NOT_GENUINE) from None
        return True

    @asynccontextmanager
    async def _turn_of_unproven(self) -> AsyncIterator[None]:
        """One at a time goes through the thread, and few wait for it."""
        if self._unproven >= UNPROVEN_LIMIT:
            raise Retryable.shed()
        self._unproven += 1
        try:
            async with self._turn:
                yield
        finally:
            self._unproven -= 1

    async def _in_thread(self, prove: Callable[[], T], chain: Chain, signed_at_s: float) -> T:
        try:
            async with asyncio.timeout(PROOF_LIMIT_S):
                return await asyncio.get_running_loop().run_in_executor(self._thread, prove)
        except TimeoutError:
            raise Retryable from None
        except VerificationException as failure:
            if failure.status == VerificationStatus.RETRYABLE_VERIFICATION_FAILURE:
                raise Retryable from None
            reason = _REFUSALS.get(failure.status) or self._why_not_genuine(chain, signed_at_s)
        except (ValueError, TypeError, KeyError, AttributeError, ExceptionGroup):
            # The library builds its models from what was signed; a claim of the wrong type ends here.
            reason = "its content does not have the App Store's form"
        raise NotSigned(reason) from None

    def _why_not_genuine(self, chain: Chain, signed_at_s: float) -> str:
        validity = self._chains.validity(chain)
        return NOT_GENUINE if validity is None or validity.covers(signed_at_s) else EXPIRED


def known_environment(name: object) -> Environment:
    """Production or Sandbox. In the others nothing is signed, and the library would check nothing. Raises NotSigned."""
    if isinstance(name, str) and name in {Environment.XCODE.value, Environment.LOCAL_TESTING.value}:
        raise NotSigned("it comes from a test on a developer's machine, where nothing is paid")
    for environment in (Environment.PRODUCTION, Environment.SANDBOX):
        if name == environment.value:
            return environment
    raise NotSigned("it names none of the App Store's environments")


def _read(text: str) -> Token:
    try:
        return read_token(text, typ=PLAIN_JWT, max_bytes=TEXT_LIMIT_BYTES)
    except TokenRefused as refusal:
        raise NotSigned(f"{NOT_GENUINE} ({refusal.clause})") from None


def _chain(token: Token) -> Chain:
    chain = token.header.get("x5c")
    if (
        not isinstance(chain, list)
        or len(chain) != CHAIN_LENGTH
        or not all(isinstance(text, str) and len(text) <= CERTIFICATE_LIMIT for text in chain)
    ):
        raise NotSigned("it does not bring the three certificates that the App Store signs with")
    return tuple(chain)


def _signed_at_s(token: Token) -> float:
    """When it was signed; whole seconds, as the library judges certificates."""
    signed_at_ms = token.claims.get("signedDate")
    if type(signed_at_ms) is not int or signed_at_ms < 0:
        raise NotSigned("it does not say when it was signed")
    return signed_at_ms // MILLISECONDS


def _told_environment(claims: Mapping[str, Any]) -> object:
    for part in ("data", "summary", "appData"):
        told = claims.get(part)
        if isinstance(told, dict):
            return told.get("environment")
    return Environment.PRODUCTION.value
