"""The errors: one class for each error of the contract.

Services raise them, the gateway turns them into the JSON body with three keys, and the Python client raises the same
classes. On the wire an error is a gRPC status with `google.rpc.ErrorInfo` (and `google.rpc.RetryInfo` if a retry may
help) in the standard status details, and the plain metadata that the gateway reads (see `vyris.error_wire`).
"""

from __future__ import annotations

from typing import ClassVar, Final

import grpc

REQUEST_LIMIT_BYTES: Final = 65_536
"""The limit of a request's body and of its message (the contract)."""


class VyrisError(Exception):
    """Base class of the errors. A caller may see `message`.

    `message` never contains an exception's text, SQL, a host name, a secret or the caller's own input. `reason`: the
    contract's name, such as `SOLD_OUT`. `retryable`: whether the same request may succeed later. `request_id`: the
    call's id in the servers' logs, set by the client.
    """

    reason: ClassVar[str]
    grpc_code: ClassVar[grpc.StatusCode]
    default_http_status: ClassVar[int]
    default_retryable: ClassVar[bool] = False
    default_message: ClassVar[str]

    def __init__(
        self,
        message: str | None = None,
        *,
        retryable: bool | None = None,
        http_status: int | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        """`retry_after_s`: whole seconds until a retry, sent as `Retry-After` and `RetryInfo`."""
        self.message = message if message is not None else self.default_message
        self.retryable = self.default_retryable if retryable is None else retryable
        self.http_status = self.default_http_status if http_status is None else http_status
        self.retry_after_s = retry_after_s
        self.request_id: str | None = None
        super().__init__(self.message)


class SoldOut(VyrisError):
    """The drop has no unclaimed slot in Postgres."""

    reason = "SOLD_OUT"
    grpc_code = grpc.StatusCode.FAILED_PRECONDITION
    default_http_status = 410
    default_message = "No allocations remaining for this drop"


class ReceiptUsed(VyrisError):
    """The receipt was fulfilled for another user."""

    reason = "RECEIPT_USED"
    grpc_code = grpc.StatusCode.ALREADY_EXISTS
    default_http_status = 409
    default_message = "This receipt has already been used"


class InvalidReceipt(VyrisError):
    """The receipt or its user is missing or out of bounds, or the receipt proves no purchase."""

    reason = "INVALID_RECEIPT"
    grpc_code = grpc.StatusCode.INVALID_ARGUMENT
    default_http_status = 422
    default_message = "The receipt is not valid"


class Unauthorized(VyrisError):
    """Not the owner, a revoked membership, or a proof or signature that is missing, invalid, stale or used."""

    reason = "UNAUTHORIZED"
    grpc_code = grpc.StatusCode.UNAUTHENTICATED
    default_http_status = 401
    default_message = "The caller may not do this"


class Retryable(VyrisError):
    """The service did not finish, or does not know whether it did. Sending the same request again is safe."""

    reason = "RETRYABLE"
    grpc_code = grpc.StatusCode.UNAVAILABLE
    default_http_status = 500
    default_retryable = True
    default_message = "The service could not finish; send the same request again"

    @classmethod
    def shed(cls, retry_after_s: int = 1) -> Retryable:
        """Refuse at once, because more requests wait than can be served in time."""
        return cls("The service is busy; send the same request again", http_status=503, retry_after_s=retry_after_s)

    @classmethod
    def unreachable(cls) -> Retryable:
        """The service does not answer."""
        message = "The service cannot be reached; send the same request again"
        return cls(message, http_status=503, retry_after_s=1)

    @classmethod
    def too_slow(cls) -> Retryable:
        """No answer came within the caller's deadline."""
        return cls("The service did not answer in time; send the same request again", http_status=504)


class NotFound(VyrisError):
    """Unknown membership, device, drop, token or path."""

    reason = "NOT_FOUND"
    grpc_code = grpc.StatusCode.NOT_FOUND
    default_http_status = 404
    default_message = "Not found"


class Conflict(VyrisError):
    """The encounter is already recorded; or an operator's change of this address is open."""

    reason = "CONFLICT"
    grpc_code = grpc.StatusCode.ALREADY_EXISTS
    default_http_status = 409
    default_message = "This encounter is already recorded"


class Expired(VyrisError):
    """A reforge token that is expired, used or superseded."""

    reason = "EXPIRED"
    grpc_code = grpc.StatusCode.FAILED_PRECONDITION
    default_http_status = 410
    default_message = "This link has expired or was used"


class InvalidRequest(VyrisError):
    """A field is missing, has the wrong form, or is out of bounds."""

    reason = "INVALID_REQUEST"
    grpc_code = grpc.StatusCode.INVALID_ARGUMENT
    default_http_status = 422
    default_message = "The request is not valid"

    @classmethod
    def too_large(cls) -> InvalidRequest:
        """The request has more than `REQUEST_LIMIT_BYTES`."""
        return cls("The request is larger than 64 KiB", http_status=413)


class DropNotOpen(VyrisError):
    """The drop is not open, by Postgres' clock. Retryable only before it opens."""

    reason = "DROP_NOT_OPEN"
    grpc_code = grpc.StatusCode.FAILED_PRECONDITION
    default_http_status = 409
    default_message = "This drop is not open"


class RateLimited(VyrisError):
    """Too many requests. The answer always has `retry_after_s`."""

    reason = "RATE_LIMITED"
    grpc_code = grpc.StatusCode.RESOURCE_EXHAUSTED
    default_http_status = 429
    default_retryable = True
    default_message = "Too many requests"

    def __init__(self, message: str | None = None, *, retry_after_s: int = 1) -> None:
        """`retry_after_s` is whole seconds."""
        super().__init__(message, retry_after_s=retry_after_s)


class HeldOut(VyrisError):
    """Every number of the drop is minted or held, and some may come back."""

    reason = "HELD_OUT"
    grpc_code = grpc.StatusCode.FAILED_PRECONDITION
    default_http_status = 409
    default_retryable = True
    default_message = "Every number of this drop is held or minted; some may come back"

    def __init__(
        self,
        message: str | None = None,
        *,
        retryable: bool | None = None,
        http_status: int | None = None,
        retry_after_s: int | None = 5,
    ) -> None:
        """`retry_after_s` is whole seconds."""
        super().__init__(message, retryable=retryable, http_status=http_status, retry_after_s=retry_after_s)


class NotOffered(VyrisError):
    """The draw has not offered a number to this entry yet. Retryable until the draw is done."""

    reason = "NOT_OFFERED"
    grpc_code = grpc.StatusCode.FAILED_PRECONDITION
    default_http_status = 409
    default_retryable = True
    default_message = "There is no offer for you in this drop yet"


class LimitReached(VyrisError):
    """This person (by a proven key) already has as many memberships and holds as the drop allows."""

    reason = "LIMIT_REACHED"
    grpc_code = grpc.StatusCode.ALREADY_EXISTS
    default_http_status = 409
    default_message = "You have your share of this drop already"


class HoldRequired(VyrisError):
    """The drop sells by draw, and the buyer has no offer. The receipt is recorded and refundable."""

    reason = "HOLD_REQUIRED"
    grpc_code = grpc.StatusCode.FAILED_PRECONDITION
    default_http_status = 409
    default_message = "This drop sells by a draw, and there is no offer for this buyer"


class HoldExpired(VyrisError):
    """The payment came after the hold had lapsed, and no number is free; or the hold has ended."""

    reason = "HOLD_EXPIRED"
    grpc_code = grpc.StatusCode.FAILED_PRECONDITION
    default_http_status = 410
    default_message = "This hold has ended"


ERRORS_BY_REASON: dict[str, type[VyrisError]] = {
    error.reason: error
    for error in (
        SoldOut,
        ReceiptUsed,
        InvalidReceipt,
        Unauthorized,
        Retryable,
        NotFound,
        Conflict,
        Expired,
        InvalidRequest,
        DropNotOpen,
        RateLimited,
        HeldOut,
        NotOffered,
        LimitReached,
        HoldRequired,
        HoldExpired,
    )
}

# The errors for statuses that gRPC itself makes, without details. Every other status is Retryable.
ERRORS_BY_BARE_CODE: dict[grpc.StatusCode, VyrisError] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequest(),
    grpc.StatusCode.DEADLINE_EXCEEDED: Retryable.too_slow(),
    grpc.StatusCode.NOT_FOUND: NotFound(),
    grpc.StatusCode.RESOURCE_EXHAUSTED: Retryable.shed(),
    grpc.StatusCode.UNIMPLEMENTED: NotFound(),
    grpc.StatusCode.UNAVAILABLE: Retryable.unreachable(),
    grpc.StatusCode.UNAUTHENTICATED: Unauthorized(),
}
