"""The faults. Each is a coroutine that breaks something, waits, and repairs it; its name is its kind."""

from tests.chaos.faults import failpoints, network, postgres, processes, redis
from tests.chaos.faults.scene import FAULTS, Inflict, Scene

__all__ = ["FAULTS", "Inflict", "Scene", "failpoints", "network", "postgres", "processes", "redis"]
