"""What a load generator saw."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LoadResult:
    """Counts, and times in microseconds."""

    seconds: float
    answers: int
    refusals: int  # answers with an HTTP status of 400 or more, or a gRPC status other than OK
    broken: int  # connections that failed
    timeouts: int
    sent: int  # requests made, answered or not
    p50_us: float
    p90_us: float
    p99_us: float
    p999_us: float
    longest_us: float

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.answers / self.seconds
