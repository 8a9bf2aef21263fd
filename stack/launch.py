"""Become the process that a launch file describes.

`python -I -S launch.py mint.json` reads the file that `description` wrote, ties the process to its parent and replaces
itself. It uses only the standard library, because it runs before every process of the stack. A launch file avoids
supervisord's quoting of values with newlines and percent signs.
"""

from __future__ import annotations

import ctypes
import json
import os
import pwd
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

# linux/prctl.h, linux/sched.h, linux/capability.h
PR_SET_PDEATHSIG = 1
PR_SET_KEEPCAPS = 8
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
CLONE_NEWUSER = 0x10000000
CAP_DAC_OVERRIDE = 1
LINUX_CAPABILITY_VERSION_3 = 0x20080522
PARENT_VARIABLE = "VYRIS_SUPERVISOR_PID"


def description(
    argv: Sequence[str],
    environment: Mapping[str, str],
    directory: Path,
    *,
    death_signal: int,
    sheds_root: str = "",
    is_supervisor: bool = False,
) -> str:
    """Make a launch file's text: become `argv` in `directory`, with only `environment`.

    `death_signal`: the kernel sends it when the parent ends (0: none). `sheds_root`: a key of `SHEDDING`, or "".
    """
    return json.dumps(
        {
            "argv": list(argv),
            "environment": dict(environment),
            "directory": str(directory),
            "death_signal": int(death_signal),
            "sheds_root": sheds_root,
            "is_supervisor": is_supervisor,
        }
    )


def command(launch_file: Path) -> list[str]:
    """The command that becomes the process of a launch file."""
    return [sys.executable, "-I", "-S", str(Path(__file__).resolve()), str(launch_file)]


def unprivileged_user() -> pwd.struct_passwd:
    """The user that root becomes: `nobody`, or any existing user, because initdb looks its user up. Raises OSError."""
    users = [user for user in pwd.getpwall() if user.pw_uid != 0]
    if not users:
        raise OSError("this machine knows no user but root")
    return next((user for user in users if user.pw_name == "nobody"), users[0])


def enter_user_namespace() -> None:
    """Leave uid 0 for another uid of a new user namespace, in which our files stay ours. Raises OSError."""
    if not sys.platform.startswith("linux"):
        raise OSError("only Linux has them")
    inside = unprivileged_user()
    uid, gid = os.getuid(), os.getgid()
    libc = ctypes.CDLL(None, use_errno=True)
    _check(libc.unshare(CLONE_NEWUSER), "unshare(CLONE_NEWUSER)")
    Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
    Path("/proc/self/uid_map").write_text(f"{inside.pw_uid} {uid} 1", encoding="ascii")
    Path("/proc/self/gid_map").write_text(f"{inside.pw_gid} {gid} 1", encoding="ascii")


def keep_file_access_alone() -> None:
    """Leave uid 0 for an unprivileged one that may still pass the folders above the state folder. Raises OSError."""
    user = unprivileged_user()
    libc = ctypes.CDLL(None, use_errno=True)
    kept = ctypes.c_uint32(1 << CAP_DAC_OVERRIDE)
    header = (ctypes.c_uint32 * 2)(LINUX_CAPABILITY_VERSION_3, 0)
    # Effective, permitted and inheritable, for the lower and the upper 32 capabilities.
    sets = (ctypes.c_uint32 * 6)(kept, kept, kept, 0, 0, 0)
    _check(libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0), "prctl(PR_SET_KEEPCAPS)")
    os.setgroups([])
    os.setresgid(user.pw_gid, user.pw_gid, user.pw_gid)
    os.setresuid(user.pw_uid, user.pw_uid, user.pw_uid)
    _check(libc.capset(header, sets), "capset")
    _check(libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_OVERRIDE, 0, 0), "prctl(PR_CAP_AMBIENT)")


def _check(result: int, call: str) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), call)


# How a process that refuses to run as root leaves it.
SHEDDING = {"namespace": enter_user_namespace, "capabilities": keep_file_access_alone}


def die_with_parent(death_signal: int) -> None:
    """Make the kernel send `death_signal` when the parent ends for any reason (Linux only; see prctl(2))."""
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
    expected_parent = os.environ.get(PARENT_VARIABLE)
    if expected_parent and os.getppid() != int(expected_parent):
        raise SystemExit("the supervisor ended before this process began")


def main() -> None:
    """Never returns: the process becomes the one of the launch file, or exits with a message."""
    launch = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    try:
        if launch["sheds_root"]:
            SHEDDING[launch["sheds_root"]]()
        os.chdir(launch["directory"])
    except OSError as failure:
        raise SystemExit(f"{launch['argv'][0]} cannot leave root: {failure}") from failure
    # Only after the change of user, which would undo it.
    if launch["death_signal"]:
        die_with_parent(launch["death_signal"])
    os.umask(0o077)
    # Python ignores SIGPIPE, and a shell's `&` makes its child ignore SIGINT: the child must inherit neither.
    for deaf in (signal.SIGPIPE, signal.SIGINT):
        signal.signal(deaf, signal.SIG_DFL)
    environment = {**launch["environment"], **({PARENT_VARIABLE: str(os.getpid())} if launch["is_supervisor"] else {})}
    os.execve(launch["argv"][0], launch["argv"], environment)  # noqa: S606


if __name__ == "__main__":
    main()
