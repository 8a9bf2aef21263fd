"""The record of a run: every request with its answer, every sample, and the state after draining.

Times are seconds of the recorder's monotonic clock. An operation whose answer never came, or
came as RETRYABLE, is UNKNOWN: it may or may not have taken effect, and is never left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

FULFILLED: Final = "FULFILLED"
UNKNOWN: Final = "UNKNOWN"
DONE: Final = "DONE"
HELD: Final = "HELD"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One request and its answer.

    `kind`: mint; hold (`subject` is the user, `hold_id` the hold); revoke (an operator's, with its number freed);
    reforge, confirm, encounter (the other services). `subject` is the receipt, membership or token that it is about.
    `outcome`: FULFILLED (mint), HELD (hold), DONE (others), an error of the contract, or UNKNOWN.
    """

    kind: str
    subject: str
    user: str
    began_s: float
    ended_s: float
    outcome: str
    via: str = ""
    status: str = ""
    membership_id: str = ""
    sequence_num: int = 0
    pass_serial: str = ""
    replayed: bool = False
    hold_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The drop in one snapshot of Postgres, taken at some moment between began_s and ended_s."""

    began_s: float
    ended_s: float
    unclaimed: int  # rows of slots
    live: int  # memberships that are not revoked
    holding: int  # memberships that hold a number: live, or revoked without freeing it
    tallied: int  # how many are taken by the tallies
    redis: int | None
    held: int = 0  # live holds
    tallied_held: int = 0  # how many are held by the tallies


@dataclass(frozen=True, slots=True, kw_only=True)
class MembershipRow:
    """A membership as Postgres holds it."""

    id: str
    sequence_num: int
    pass_serial: str
    receipt: str
    user: str
    revoked: bool
    number_freed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldRow:
    """A hold as Postgres holds it."""

    id: str
    user: str
    sequence_num: int
    state: str
    membership_id: str  # empty where it was not used
    receipt: str  # that it was made for; empty for most


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRow:
    """A receipt as the ledger holds it."""

    receipt: str
    state: str
    reason: str | None
    user: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained:
    """The content of Postgres and Redis after the faults were healed and every request had its answer."""

    capacity: int
    slots: tuple[int, ...]
    tallied: int
    redis: int | None
    memberships: tuple[MembershipRow, ...]
    ledger: tuple[LedgerRow, ...]
    holds: tuple[HoldRow, ...] = ()
    counted_for: tuple[str, ...] = ()  # the hold or membership of each person key that counts
    active_devices: tuple[str, ...] = ()  # a membership's id for each active device
    encounters: tuple[str, ...] = ()  # the token for each recorded encounter
    mailed: tuple[str, ...] = ()  # the reforge for each mail
    unsettled: tuple[str, ...] = ()  # receipts that were sent again to the end and got no final answer
    serving_after_s: float = 0.0  # from healing to the first answer of each way in
    drift_zero_after_s: float | None = 0.0  # from healing to Redis' count = Postgres'; None: never


@dataclass(slots=True)
class History:
    """One run."""

    name: str
    operations: list[Operation] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    drained: Drained | None = None

    def save(self, path: Path) -> None:
        """Write one JSON object for each line, with its kind."""
        lines: Iterable[tuple[str, Any]] = [
            ("run", {"name": self.name}),
            *(("operation", asdict(operation)) for operation in self.operations),
            *(("sample", asdict(sample)) for sample in self.samples),
            *([("drained", asdict(self.drained))] if self.drained else []),
        ]
        path.write_text("".join(json.dumps({"is": kind, **data}) + "\n" for kind, data in lines), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> History:
        """Read a file that `save` has written."""
        history = cls(name=path.stem)
        for line in path.read_text(encoding="utf-8").splitlines():
            data = json.loads(line)
            match data.pop("is"):
                case "run":
                    history.name = data["name"]
                case "operation":
                    history.operations.append(Operation(**data))
                case "sample":
                    history.samples.append(Sample(**data))
                case "drained":
                    data["memberships"] = tuple(MembershipRow(**row) for row in data["memberships"])
                    data["holds"] = tuple(HoldRow(**row) for row in data["holds"])
                    data["counted_for"] = tuple(data["counted_for"])
                    data["ledger"] = tuple(LedgerRow(**row) for row in data["ledger"])
                    data |= {
                        k: tuple(data[k]) for k in ("slots", "active_devices", "encounters", "mailed", "unsettled")
                    }
                    history.drained = Drained(**data)
        return history
