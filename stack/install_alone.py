"""Run a command while no other `make` of this clone installs: `install_alone.py make install`.

Two at once would each delete the environment that the other fills. Like `preflight.py`, the machine's own Python runs
it, so it uses only the standard library, and only syntax of old Python 3 versions.
"""

import fcntl
import subprocess
import sys

LOCK = ".install.lock"


def main() -> int:
    """Wait for the lock, then run the command. Return its exit status."""
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
