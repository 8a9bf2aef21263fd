"""One RPC as a service's method sees it: who calls, how long there is, what to say besides the answer."""

from __future__ import annotations

import time
from typing import Final

from google.protobuf.descriptor import MethodDescriptor

from services.grpc_server.rpc import Rpc
from services.runtime.addresses import ip_address_of, peer_address
from services.runtime.refusals import refusal_of
from vyris.errors import Retryable, Unauthorized, VyrisError

# An answer needs this long to travel; work that could only end later is not begun.
TRAVEL_S: Final = 0.05
# Metadata by which a method whose answer is a body of its own names the HTTP status; the gateway makes it so.
HTTP_STATUS_KEY: Final = "x-http-status"
# Metadata in which the gateway says the address that it limits and logs the caller by.
CALLER_ADDRESS_KEY: Final = "x-vyris-caller-address"


class Identity:
    """A user who was proven, or why none was."""

    __slots__ = ("_refusal", "_user_id", "verified_email")

    def __init__(self, proven: str | VyrisError, verified_email: str = "") -> None:
        """`proven` is the user's id, or what anybody who needs one is to be told.

        `verified_email` is the address that the identity provider has verified; empty where it says of none.
        """
        self.verified_email = verified_email
        self._user_id = "" if isinstance(proven, VyrisError) else proven
        self._refusal = proven if isinstance(proven, VyrisError) else None

    def must_be(self, user_id: str) -> None:
        """Raises Unauthorized, or Retryable where nobody can be proven right now."""
        if self._refusal is not None:
            raise self._refusal
        if self._user_id != user_id:
            raise Unauthorized("The bearer token is another user's")


class Call:
    """The circumstances of one RPC."""

    __slots__ = ("_path", "_rpc", "_until_s", "identity", "method")

    def __init__(self, rpc: Rpc, method: MethodDescriptor, path: str, limit_s: float) -> None:
        """`path` is the method as `/package.Service/Method`; `limit_s` the time where the caller sets no shorter one.

        A gRPC caller sets one with its deadline; for a JSON caller the gateway does, in the same header.
        """
        self._rpc = rpc
        self._path = path
        self.method = method
        # Who the caller proved to be; set by authentication, None where a user_id needs no proof.
        self.identity: Identity | None = None
        self._until_s = time.monotonic() + min(limit_s, rpc.time_remaining()) - TRAVEL_S

    @property
    def remaining_s(self) -> float:
        """Seconds that are left for the work; raises Retryable where none are."""
        left = self._until_s - time.monotonic()
        if left <= 0:
            raise Retryable("There was no time left to serve this request", http_status=504)
        return left

    def require_user(self, user_id: str) -> None:
        """Refuse a caller who is not the user that he names.

        Called where the contract's order of checks has the owner: after shape and existence. Raises
        Unauthorized, Retryable.
        """
        if self.identity is not None:
            self.identity.must_be(user_id)

    def certificate_names(self) -> frozenset[str]:
        """DNS names and URIs of the certificate by which the caller's process proved itself."""
        return self._rpc.certificate_names()

    def metadata(self, key: str) -> str | None:
        """The first text value of a metadata key (an HTTP header through the gateway)."""
        return next(iter(self.metadata_values(key)), None)

    def metadata_values(self, key: str) -> list[str]:
        """All text values of a metadata key."""
        metadata = self._rpc.invocation_metadata()
        return [value for name, value in metadata if name == key and isinstance(value, str)]

    def caller_address(self) -> str:
        """The caller's IP address; empty where there is none.

        The gateway says it in a header of its own, which it takes from every caller. Who calls a service directly has
        the address of the connection.
        """
        said = self.metadata(CALLER_ADDRESS_KEY)
        return ip_address_of(said) if said else peer_address(self._rpc.peer())

    def refusal_of(self, error: Exception) -> VyrisError:
        """What the caller is told where the call ended in `error`; for methods whose errors are no gRPC status."""
        return refusal_of(error, self._path, self._rpc)

    async def answer_headers(self, *headers: tuple[str, str]) -> None:
        """Send initial metadata. Only where nothing can fail afterwards: an error then loses its details."""
        await self._rpc.send_initial_metadata(headers)
