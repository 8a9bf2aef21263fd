"""One RPC as a service's method sees it: the caller, the remaining time, the headers of the answer."""

from __future__ import annotations

import time
from typing import Final

from google.protobuf.descriptor import MethodDescriptor

from services.server.grpc_server.rpc import Rpc
from services.server.runtime.addresses import ip_address_of, peer_address
from services.server.runtime.refusals import refusal_of
from vyris.errors import Retryable, Unauthorized, VyrisError

# Time for the answer's way back. Work that could only end later is not begun.
TRAVEL_S: Final = 0.05
# Metadata with the HTTP status of a method that answers with a raw body; the gateway applies it.
HTTP_STATUS_KEY: Final = "x-http-status"
# Metadata in which the gateway sends the caller's address, the one that it limits and logs.
CALLER_ADDRESS_KEY: Final = "x-vyris-caller-address"


class Identity:
    """The proven user, or the reason why no user is proven."""

    __slots__ = ("_refusal", "_user_id", "verified_email")

    def __init__(self, proven: str | VyrisError, verified_email: str = "") -> None:
        """`proven`: the user's id, or the error for a check that needs a user.

        `verified_email`: the address that the identity provider has verified, or empty.
        """
        self.verified_email = verified_email
        self._user_id = "" if isinstance(proven, VyrisError) else proven
        self._refusal = proven if isinstance(proven, VyrisError) else None

    def must_be(self, user_id: str) -> None:
        """Check that the proven user is `user_id`.

        Raises Unauthorized, or Retryable if no token can be verified now.
        """
        if self._refusal is not None:
            raise self._refusal
        if self._user_id != user_id:
            raise Unauthorized("The bearer token is another user's")


class Call:
    """The context of one RPC."""

    __slots__ = ("_path", "_rpc", "_until_s", "identity", "method")

    def __init__(self, rpc: Rpc, method: MethodDescriptor, path: str, limit_s: float) -> None:
        """`path`: the method as `/package.Service/Method`. `limit_s`: the time limit, unless the caller's is shorter.

        A gRPC caller sets a limit with its deadline. For a JSON caller the gateway sets one, in the same header.
        """
        self._rpc = rpc
        self._path = path
        self.method = method
        # Set by authentication; None if a user_id needs no proof.
        self.identity: Identity | None = None
        self._until_s = time.monotonic() + min(limit_s, rpc.time_remaining()) - TRAVEL_S

    @property
    def remaining_s(self) -> float:
        """Seconds that remain for the work. Raises Retryable if none remain."""
        left = self._until_s - time.monotonic()
        if left <= 0:
            raise Retryable("There was no time left to serve this request", http_status=504)
        return left

    def require_user(self, user_id: str) -> None:
        """Refuse a caller that is not the user `user_id`. Raises Unauthorized, Retryable.

        Call it where the contract's order of checks has the owner: after shape and existence.
        """
        if self.identity is not None:
            self.identity.must_be(user_id)

    def certificate_names(self) -> frozenset[str]:
        """DNS names and URIs of the client certificate."""
        return self._rpc.certificate_names()

    def metadata(self, key: str) -> str | None:
        """The first text value of a metadata key (an HTTP header through the gateway)."""
        return next(iter(self.metadata_values(key)), None)

    def metadata_values(self, key: str) -> list[str]:
        """All text values of a metadata key."""
        metadata = self._rpc.invocation_metadata()
        return [value for name, value in metadata if name == key and isinstance(value, str)]

    def caller_address(self) -> str:
        """The caller's IP address, or empty.

        The gateway sends it in its own header, and removes that header from callers' requests. For a direct call it is
        the connection's address.
        """
        said = self.metadata(CALLER_ADDRESS_KEY)
        return ip_address_of(said) if said else peer_address(self._rpc.peer())

    def refusal_of(self, error: Exception) -> VyrisError:
        """The contract's error for `error`; for methods that answer errors themselves, without a gRPC status."""
        return refusal_of(error, self._path, self._rpc)

    async def answer_headers(self, *headers: tuple[str, str]) -> None:
        """Send initial metadata.

        Call it only when nothing can fail afterwards: a later error would lose its details.
        """
        await self._rpc.send_initial_metadata(headers)
