"""Named places where a fault can be switched on. Inert unless `FAILPOINTS_FILE` is set; never in production."""

from services.failpoints.points import FailpointRaised, reach, switch_on

__all__ = ["FailpointRaised", "reach", "switch_on"]
