"""A process of the stack, as data."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Literal

Probe = Callable[[], bool]
# How a process that refuses uid 0 leaves it (`stack/launch.py`); empty: it does not.
WayOutOfRoot = Literal["", "namespace", "capabilities"]


class Tier(IntEnum):
    """The order of starting; stopping has the reverse order."""

    STORAGE = 1
    SERVICES = 2
    GATEWAY = 3


@dataclass(frozen=True, kw_only=True)
class ProcessSpec:
    """One process: how it starts, how to check that it is ready, how it ends."""

    name: str
    tier: Tier
    argv: tuple[str, ...]
    # Replaces the whole environment.
    environment: Mapping[str, str]
    # Cheap, without side effects, and False (never an exception) while the process is not ready.
    is_ready: Probe
    # The ports by name, for people and ports.json: `{"mint": 50051, "mint_metrics": 23145}`.
    listens: Mapping[str, int | str] = field(default_factory=dict)
    stop_signal: signal.Signals = signal.SIGTERM
    stop_limit_s: int = 10
    # The kernel sends it when the supervisor is gone.
    death_signal: signal.Signals = signal.SIGKILL
    sheds_root: WayOutOfRoot = ""
