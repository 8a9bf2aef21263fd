"""Becomes the process that a launch file describes.

`python -I -S launch.py mint.json` reads `{argv, environment, directory, death_signal, user_namespace}`, ties the
process to its parent and replaces itself. Kept to the standard library: it runs before every process of the stack, and
a launch file spares us supervisord's own quoting of values with newlines and percent signs.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1
CLONE_NEWUSER = 0x10000000
# Postgres refuses uid 0; inside a user namespace root's own files belong to this uid instead.
UNPRIVILEGED_ID = 1000
PARENT_VARIABLE = "VYRIS_SUPERVISOR_PID"


def enter_user_namespace() -> None:
    """Leave uid 0 for uid 1000 of a new user namespace, in which our files stay ours. Raises OSError."""
    if not sys.platform.startswith("linux"):
        raise OSError("only Linux has them")
    uid, gid = os.getuid(), os.getgid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWUSER)")
    Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
    Path("/proc/self/uid_map").write_text(f"{UNPRIVILEGED_ID} {uid} 1", encoding="ascii")
    Path("/proc/self/gid_map").write_text(f"{UNPRIVILEGED_ID} {gid} 1", encoding="ascii")


def die_with_parent(death_signal: int) -> None:
    """Have the kernel send `death_signal` when the parent ends, however it ends (Linux only; see prctl(2))."""
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
    expected_parent = os.environ.get(PARENT_VARIABLE)
    if expected_parent and os.getppid() != int(expected_parent):
        raise SystemExit("the supervisor ended before this process began")


def main() -> None:
    """Never returns: the process becomes what the launch file says, or exits with a sentence."""
    launch = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    if launch["user_namespace"]:
        try:
            enter_user_namespace()
        except OSError as failure:
            raise SystemExit(f"no user namespace for {launch['argv'][0]}: {failure}") from failure
    if launch["death_signal"]:
        die_with_parent(launch["death_signal"])
    os.chdir(launch["directory"])
    os.umask(0o077)
    # Python ignores SIGPIPE, and a shell's `&` makes its child ignore SIGINT: neither is for the child to inherit.
    for deaf in (signal.SIGPIPE, signal.SIGINT):
        signal.signal(deaf, signal.SIG_DFL)
    environment = {**launch["environment"], **({PARENT_VARIABLE: str(os.getpid())} if launch["is_supervisor"] else {})}
    os.execve(launch["argv"][0], launch["argv"], environment)  # noqa: S606


if __name__ == "__main__":
    main()
