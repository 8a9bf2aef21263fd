"""Supply: numbers that come back.

The line of late payers gets them first, as holds; the others are for sale again. Numbers come from holds that lapse or
are released (`services/holds`), and from memberships whose refund frees their number (`services/mint`), each in its own
transaction.
"""

from services.supply.returns import RANDOM_BITS, Returned, add_to_tally, put_back, serve_line

__all__ = ["RANDOM_BITS", "Returned", "add_to_tally", "put_back", "serve_line"]
