"""Named places where a test can switch on a fault.

They do nothing unless `FAILPOINTS_FILE` is set; never in production.
"""

from services.server.failpoints.points import FailpointRaised, reach, switch_on

__all__ = ["FailpointRaised", "reach", "switch_on"]
