"""What the statements of `queries.sql` return: the rows that several modules read, with types."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple, Protocol
from uuid import UUID


class NamedMembership(Protocol):
    """A row that names a membership for people."""

    @property
    def tier(self) -> str:
        """The drop's tier."""

    @property
    def year(self) -> str:
        """The drop's year."""

    @property
    def sequence_num(self) -> int:
        """The membership's number."""


class Subject(NamedTuple):
    """What a token belongs to: a request to move, or a change of address."""

    id: UUID
    membership_id: UUID
    digest: bytes  # of the token


class Membership(NamedTuple):
    """`read_membership`: a membership with its active device and its address."""

    id: UUID
    user_id: str
    revoked: bool
    tier: str
    year: str
    sequence_num: int
    device_id: str | None  # None without an active device
    thumbprint: str | None
    email: str | None
    verified: bool


class Request(NamedTuple):
    """`read_request`: a request to move a membership, with everything that its checks need."""

    id: UUID
    membership_id: UUID
    state: str
    proven: bool
    old_device_id: str | None
    old_thumbprint: str | None
    new_device_id: str
    new_public_key: str
    new_thumbprint: str
    email: str
    asked_from: str
    code_required: bool
    code_attempts: int
    created_at: datetime
    expires_at: datetime
    decided_at: datetime | None
    undo_until: datetime | None
    past_expiry: bool
    can_be_undone: bool
    revoked: bool
    tier: str
    year: str
    sequence_num: int
    active_thumbprint: str | None  # of the membership's device now
    moved_to: str | None  # the thumbprint of the newest confirmed move


class ListedMove(NamedTuple):
    """`list_moves`: a request as the owner's device sees it."""

    id: UUID
    state: str
    proven: bool
    old_device_id: str | None
    new_device_id: str
    asked_from: str
    created_at: datetime
    expires_at: datetime
    decided_at: datetime | None
    undo_until: datetime | None
    past_expiry: bool
    revoked: bool


class EmailChange(NamedTuple):
    """`read_email_change`: a change of address, with everything that its checks need."""

    id: UUID
    membership_id: UUID
    old_email: str | None
    new_email: str
    by_device: bool
    created_at: datetime
    effective_at: datetime
    confirm_until: datetime | None
    confirmed_at: datetime | None
    applied_at: datetime | None
    undo_until: datetime | None
    due: bool
    open: bool
    past_confirmation: bool
    can_be_undone: bool
    tier: str
    year: str
    sequence_num: int


class ListedChange(NamedTuple):
    """`list_email_changes`: a change of address as the owner's device sees it."""

    id: UUID
    new_email: str
    by_device: bool
    created_at: datetime
    effective_at: datetime
    confirm_until: datetime | None
    confirmed_at: datetime | None
    applied_at: datetime | None
    refused_at: datetime | None
    undone_at: datetime | None
    undo_until: datetime | None
