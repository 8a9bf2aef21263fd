"""Explain in one sentence why this machine cannot run the stack.

`make` runs this file with the machine's own Python before anything is installed. So it uses only the standard library,
and only syntax of old Python 3 versions.
"""

import platform
import shutil
import sys

OLDEST_PYTHON = (3, 11)
# The platforms of the wheels of Envoy, Postgres and Valkey.
SYSTEMS = ("Linux", "Darwin")
MACHINES = ("x86_64", "amd64", "aarch64", "arm64")
ELSEWHERE = "use Docker Compose instead (see deploy/)"


def unfit_reason() -> str:
    """The reason why the stack cannot run here; empty if it can."""
    if sys.version_info < OLDEST_PYTHON:
        found = "{}.{}".format(*sys.version_info[:2])
        return f"VYRIS needs Python 3.11 or newer and this is {found}: name another with `make PYTHON=python3.12 …`."
    system, machine = platform.system(), platform.machine().lower()
    if system not in SYSTEMS or machine not in MACHINES:
        return f"The local stack has no binaries for {system} on {machine}: {ELSEWHERE}."
    if system == "Linux" and platform.libc_ver()[0] != "glibc":
        return f"The local stack's binaries need glibc, which this Linux does not have: {ELSEWHERE}."
    return ""


def missing_module() -> str:
    """What Python lacks to make a virtual environment; empty if nothing."""
    for module in ("venv", "ensurepip"):
        try:
            __import__(module)
        except ImportError:
            return f"This Python has no module `{module}`: install it (on Debian and Ubuntu: apt install python3-venv)."
    return ""


def failed_install_reason() -> str:
    """What to do about a failed installation."""
    if not any(shutil.which(compiler) for compiler in ("cc", "gcc", "clang")):
        return (
            "Installing failed, and there is no C compiler, which a package without a wheel for this machine needs: "
            "install one (on Debian and Ubuntu: apt install build-essential) and run the command again."
        )
    return "Installing failed for the reason above: run the command again once that is mended."


def main() -> int:
    """Print the sentence, if there is one. The exit status is 1 if there was."""
    after_failure = sys.argv[1:] == ["--after-failed-install"]
    reason = failed_install_reason() if after_failure else unfit_reason() or missing_module()
    if reason:
        sys.stderr.write(f"vyris: {reason}\n")
    return 1 if reason else 0


if __name__ == "__main__":
    sys.exit(main())
