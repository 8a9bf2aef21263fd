"""Verify texts that the App Store signed: transactions, AppTransactions and server notifications.

Cheap checks come first: form and sizes, the app, the text's root certificate, the signature by its own leaf. Then the
chain: a known one costs a lookup, an unknown one waits in a queue for Apple's own library (`chain_queue`). Receipts,
AppTransactions and notifications of unknown signers have separate lanes, so that a flood of one does not delay the
others. Texts of known signers use no lane.

Certificates must be valid at the time of the signature, so a genuine text stays genuine for ever. Revocation is checked
separately (`check_revocation`), and only if the answer matters.

Measured on one core: 2.6 ms through the library, 0.3 ms under a proven chain.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import structlog
from appstoreserverlibrary.models.Environment import Environment
from appstoreserverlibrary.signed_data_verifier import SignedDataVerifier, VerificationStatus
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from services.identity.jose import PLAIN_JWT, Token, TokenRefused, read_token, verify_token
from services.mint.receipts.chain_queue import ChainDisproven, ChainQueue
from services.mint.receipts.pace import Pace
from services.mint.receipts.proven_chains import CHAINS_LIMIT, Chain, ProvenChains, ReadChain
from services.mint.receipts.revocation_checks import ChainRevoked, RevocationChecks
from vyris.bounds import limit_of
from vyris.errors import Retryable
from vyris.mint.v1 import mint_pb2

TEXT_LIMIT_BYTES: Final = limit_of(mint_pb2.NotifyAppStoreRequest, "signed_payload")
CHAIN_LENGTH: Final = 3
CERTIFICATE_LIMIT: Final = 4_096  # characters of base64; Apple's have about 1,500
PIECES_A_TURN: Final = 8
UNKNOWN_PIECES_A_TURN: Final = 2
MILLISECONDS: Final = 1_000

OTHER_APP: Final = "it is for another app"
NOT_GENUINE: Final = "it is not signed by the App Store"
EXPIRED: Final = "the certificate that signed it was not valid at that time"
REVOKED: Final = "Apple has revoked the certificate that signed it"
# Where a notification names its app (Apple, App Store Server Notifications, responseBodyV2DecodedPayload).
APP_PARTS: Final = ("data", "summary", "externalPurchaseToken", "appData")

log = structlog.get_logger(__name__)


class NotSigned(Exception):
    """The App Store did not sign this text for this app. `reason` continues a sentence: "…, because "."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class _AppleChains(SignedDataVerifier):
    """Apple's proof of a certificate chain alone.

    The library's public methods prove a chain only with a text, parse that into a model, and refuse kinds that they do
    not know yet. If a release of the library renames a method that is called here, tests fail.
    """

    def prove_chain(self, chain: Chain, moment_s: float) -> None:
        """Verify a chain as of that moment. Raises any error of the library, also undocumented ones."""
        self._chain_verifier.verify_chain(list(chain), self._enable_online_checks, int(moment_s))


class _Lane:
    """The queues for texts of unknown signers: first for parsing, then for the proof of their chain."""

    def __init__(self, name: str) -> None:
        self.pace = Pace(UNKNOWN_PIECES_A_TURN)
        self.queue = ChainQueue(name)


class AppStoreSignatures:
    """Verifies the App Store's signatures, for one app."""

    def __init__(self, roots: Sequence[x509.Certificate], bundle_id: str, app_id: int, *, online_checks: bool) -> None:
        """`online_checks` asks Apple's OCSP responder whether a certificate was revoked."""
        self._roots = [root.public_bytes(Encoding.DER) for root in roots]
        self._bundle_id = bundle_id
        self._app_id = app_id
        self._apple = self._apple_chains(online=False)
        self._chains = ProvenChains(roots)
        self._revocation = RevocationChecks() if online_checks else None
        self._known_pace = Pace(PIECES_A_TURN)
        self._receipts = _Lane("app-store-receipts")
        self._app_transactions = _Lane("app-store-app-transactions")
        self._notifications = _Lane("app-store-notifications")
        # Encoded headers of texts with a proven chain: all texts of one signer have the same.
        self._known_headers: dict[str, None] = {}

    def close(self) -> None:
        """End the threads. Waiting work is dropped."""
        for lane in (self._receipts, self._app_transactions, self._notifications):
            lane.queue.close()
        if self._revocation is not None:
            self._revocation.close()

    async def transaction(self, text: str) -> Mapping[str, Any]:
        """The claims of a signed transaction (JWSTransaction) for this app.

        It was genuine when it was signed. `check_revocation` checks whether its certificates were revoked since.
        Raises NotSigned, Retryable.
        """
        return await self._transaction(text, self._receipts)

    async def app_transaction(self, text: str) -> Mapping[str, Any]:
        """The claims of an AppTransaction of this app in production. Raises NotSigned, Retryable."""
        await self._turn(text, self._app_transactions)
        token = _read(text)
        if token.claims.get("receiptType") != Environment.PRODUCTION.value:
            raise NotSigned("it is no AppTransaction of the App Store's production")
        if (token.claims.get("bundleId"), token.claims.get("appAppleId")) != (self._bundle_id, self._app_id):
            raise NotSigned(OTHER_APP)
        await self._prove(text, token, self._app_transactions.queue, signed_at="receiptCreationDate")
        await self.check_revocation(text)
        return token.claims

    async def notified_transaction(self, text: str) -> Mapping[str, Any]:
        """The claims of a transaction in a notification or in Apple's history. Raises NotSigned, Retryable."""
        claims = await self._transaction(text, self._notifications)
        await self.check_revocation(text)
        return claims

    async def notification(self, text: str) -> Mapping[str, Any]:
        """The claims of a server notification (responseBodyV2DecodedPayload) that names no other app.

        It may be of any kind, also of one that Apple adds later. Raises NotSigned, Retryable.
        """
        await self._turn(text, self._notifications)
        token = _read(text)
        self._check_app_parts(token.claims)
        await self._prove(text, token, self._notifications.queue)
        await self.check_revocation(text)
        return token.claims

    def may_be_revoked(self, text: str) -> bool:
        """Whether `check_revocation` would have to ask Apple about this proven text."""
        if self._revocation is None:
            return False
        chain = self._chains.find(_chain(_read(text)))
        return chain is None or not self._revocation.is_fresh(chain)

    async def check_revocation(self, text: str) -> None:
        """Check whether the certificates of a proven text were revoked. Raises NotSigned, Retryable."""
        if self._revocation is None:
            return
        chain = self._chains.find(_chain(_read(text)))
        if chain is None:  # it was proven a moment ago, and too many signers came since
            raise Retryable
        try:
            await self._revocation.check(chain, lambda: self._ask_apple(chain))
        except ChainRevoked:
            raise NotSigned(REVOKED) from None

    async def _transaction(self, text: str, lane: _Lane) -> Mapping[str, Any]:
        await self._turn(text, lane)
        token = _read(text)
        known_environment(token.claims.get("environment"))
        if token.claims.get("bundleId") != self._bundle_id:
            raise NotSigned(OTHER_APP)
        await self._prove(text, token, lane.queue)
        return token.claims

    async def _turn(self, text: str, lane: _Lane) -> None:
        is_known = text.partition(".")[0] in self._known_headers
        await (self._known_pace if is_known else lane.pace).turn()

    async def _prove(self, text: str, token: Token, queue: ChainQueue, signed_at: str = "signedDate") -> None:
        """`signed_at`: the claim that says when it was signed. Raises NotSigned, Retryable."""
        named = _chain(token)
        known = self._chains.find(named)
        chain = known or self._chains.read(named)
        if chain is None:
            raise NotSigned(NOT_GENUINE)
        if not chain.covers(_signed_at_s(token, signed_at)):
            raise NotSigned(EXPIRED)
        try:
            # First the signature, by a leaf that is not proven yet: so a copied chain never waits in the queue.
            verify_token(token, chain.leaf)
            if known is None:
                await queue.prove(named, lambda: self._is_genuine(chain), lambda: self._chains.remember(chain))
        except (TokenRefused, ChainDisproven):
            raise NotSigned(NOT_GENUINE) from None
        if known is None:
            self._know_header(text)

    def _know_header(self, text: str) -> None:
        while len(self._known_headers) >= CHAINS_LIMIT:
            del self._known_headers[next(iter(self._known_headers))]
        self._known_headers[text.partition(".")[0]] = None

    def _is_genuine(self, chain: ReadChain) -> bool:
        """Runs in a thread. The result is the same for every moment at which the certificates are valid."""
        try:
            self._apple.prove_chain(chain.chain, chain.valid_from_s)
        except Exception as failure:
            log.debug("chain_disproven", failure=type(failure).__name__)
            return False
        return True

    def _ask_apple(self, chain: ReadChain) -> None:
        """Runs in a thread. Raises ChainRevoked, Retryable."""
        try:
            # A new object each time, because the library caches answers for a quarter of an hour.
            self._apple_chains(online=True).prove_chain(chain.chain, time.time())
        except Exception as failure:
            if getattr(failure, "status", None) == VerificationStatus.RETRYABLE_VERIFICATION_FAILURE:
                raise Retryable from None
            log.warning("chain_not_vouched_for", failure=type(failure).__name__)
            raise ChainRevoked from None

    def _apple_chains(self, *, online: bool) -> _AppleChains:
        return _AppleChains(self._roots, online, Environment.PRODUCTION, self._bundle_id, self._app_id)

    def _check_app_parts(self, claims: Mapping[str, Any]) -> None:
        """Raises NotSigned if a notification names another app. Sandbox apps have no number yet."""
        for name in APP_PARTS:
            part = claims.get(name)
            if not isinstance(part, dict):
                continue
            if part.get("bundleId", self._bundle_id) != self._bundle_id:
                raise NotSigned(OTHER_APP)
            if not _is_sandbox(part) and part.get("appAppleId", self._app_id) != self._app_id:
                raise NotSigned(OTHER_APP)


def known_environment(name: object) -> Environment:
    """Production or Sandbox. In others nothing is signed, and the library checks nothing. Raises NotSigned."""
    if isinstance(name, str) and name in {Environment.XCODE.value, Environment.LOCAL_TESTING.value}:
        raise NotSigned("it comes from a test on a developer's machine, where nothing is paid")
    for environment in (Environment.PRODUCTION, Environment.SANDBOX):
        if name == environment.value:
            return environment
    raise NotSigned("it names none of the App Store's environments")


def _is_sandbox(part: Mapping[str, Any]) -> bool:
    purchase = part.get("externalPurchaseId")
    return part.get("environment") == Environment.SANDBOX.value or (
        isinstance(purchase, str) and purchase.startswith("SANDBOX")
    )


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


def _signed_at_s(token: Token, claim: str) -> float:
    """When it was signed, in whole seconds, as the library checks certificates."""
    signed_at_ms = token.claims.get(claim)
    if type(signed_at_ms) is not int or signed_at_ms < 0:
        raise NotSigned("it does not say when it was signed")
    return signed_at_ms // MILLISECONDS
