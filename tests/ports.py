"""Free ports, none of them twice in one test process."""

from __future__ import annotations

from stack.ports import PortTaker

free_port = PortTaker(set()).free_port
