"""Runs a command while no other `make` of this clone installs: `install_alone.py make install`.

Two at once would each clear the environment that the other fills. Like `preflight.py` it is run by the machine's own
Python, so it uses the standard library alone, and nothing that an old Python 3 could not read.
"""

import fcntl
import subprocess
import sys

LOCK = ".install.lock"


def main() -> int:
    """Wait for the lock, then run the command; its exit status."""
    with open(LOCK, "w") as lock:  # noqa: PTH123 - older than some of pathlib
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Another make is installing here; waiting for it …", flush=True)  # noqa: T201
            fcntl.flock(lock, fcntl.LOCK_EX)
        return subprocess.call(sys.argv[1:])


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
