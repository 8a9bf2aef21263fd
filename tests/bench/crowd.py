"""The crowd of a drop's night: the program in `crowd`, in which each person goes on by what the last answer said."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from tests.bench import generator, tools
from tests.bench.drops import YEAR
from tests.bench.usage import children_cpu_s

# It shares the cores with what is measured: one of them, as wrk with its one thread; its memory is tidied up rarely.
SPARING = {"GOMAXPROCS": "1", "GOGC": "1000"}
# How long a number waits for its payment. An offer lasts longer than the pause after which people look at a draw again.
HOLD_S, OFFER_S = 10, 40


@dataclass(frozen=True)
class People:
    """How many come, how they come, and what they are like; shares are of 1."""

    count: int
    connections: int = 64  # requests at once
    over_s: float = 0.0  # they arrive within it
    pay_s: float = 3.0  # from a hold to its payment, at most
    late_s: float = 0.0  # from a hold to a payment that comes late, at least
    look_after_s: float = 0.0  # nobody looks for the result of a draw before
    limit_s: float = 600.0  # the crowd ends then
    late_share: float = 0.0  # of those with a hold
    leave_share: float = 0.0  # of those with a hold: they never pay
    replay_share: float = 0.1  # of those who sent a receipt: they send it again
    eager_share: float = 0.5  # they attempt once even if the status says that nothing is left


@dataclass(frozen=True)
class Waits:
    """How many people ended alike, and how long they waited from their arrival to the final answer."""

    count: int
    p50_s: float
    p99_s: float


@dataclass(frozen=True)
class Answers:
    """Answers to one step that are alike."""

    count: int
    p50_ms: float
    p99_ms: float
    last_s: float  # when the last came, since the crowd began


@dataclass(frozen=True)
class CrowdResult:
    """What the crowd saw."""

    requests: int
    ended_s: float  # when the last person had a final answer
    people: dict[str, Waits]  # won, lost, left (held a number and did not pay), failed, undecided
    answers: dict[str, Answers]  # by step and answer: `mint 410 SOLD_OUT`
    generator_cpu_s: float

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> CrowdResult:
        """What the crowd's program reports, with its processor time."""
        people = {how: Waits(**one) for how, one in document["people"].items()}
        answers = {name: Answers(**one) for name, one in sorted(document["answers"].items())}
        return cls(**{**document, "people": people, "answers": answers})

    def ended(self, how: str) -> int:
        """How many people ended like this."""
        return self.people[how].count if how in self.people else 0

    def waits(self, how: str) -> str:
        """p50 and p99 of their waits in seconds; a dash where nobody ended like this."""
        return f"{self.people[how].p50_s:.2f}, {self.people[how].p99_s:.2f}" if how in self.people else "-"


@dataclass(frozen=True)
class Scene:
    """A crowd at one subject."""

    sale: str
    subject: str
    people: int
    crowd: CrowdResult
    cpu_us: dict[str, float]  # by process, a person

    @property
    def all_cpu_us(self) -> float:
        """CPU of all processes, a person; the crowd's is not among them."""
        return sum(self.cpu_us.values())

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Scene:
        """The scene that `dataclasses.asdict` wrote."""
        return cls(**{**document, "crowd": CrowdResult.from_json(document["crowd"])})


@dataclass(frozen=True)
class Timing:
    """How long something took, and how long it may take."""

    what: str
    took_s: float
    within_s: float


def send(url: str, sale: str, tier: str, run: str, people: People) -> CrowdResult:
    """Send the crowd to a drop, and wait until each has a final answer. Raises MissingTool; RuntimeError."""
    command = [
        str(tools.build_with_go(tools.CROWD)),
        "-address", urlsplit(url).netloc,
        "-sale", sale,
        "-tier", tier,
        "-year", YEAR,
        "-run", run,
        "-people", str(people.count),
        "-connections", str(people.connections),
        "-over", f"{people.over_s}s",
        "-pay", f"{people.pay_s}s",
        "-late", f"{people.late_s}s",
        "-look-after", f"{people.look_after_s}s",
        "-limit", f"{people.limit_s}s",
        "-late-share", str(people.late_share),
        "-leave-share", str(people.leave_share),
        "-replay-share", str(people.replay_share),
        "-eager-share", str(people.eager_share),
    ]  # fmt: skip
    before = children_cpu_s()
    finished = generator.run(command, seconds=people.limit_s, during=None, environment=SPARING)
    used = children_cpu_s() - before
    if finished.exit_status != 0:
        raise RuntimeError(f"the crowd reported nothing: {finished.errors}")
    return CrowdResult.from_json({**json.loads(finished.output), "generator_cpu_s": used})
