"""Makes `vyris/client/synchronous.py` of `asynchronous.py`.

python -m tools.synchronous_client           write it
python -m tools.synchronous_client --check   exit with 1 if the file in the repository is not up to date
"""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
import tokenize
from pathlib import Path
from typing import Final

CLIENT: Final = Path(__file__).parents[1] / "vyris" / "client"
HEAD: Final = (
    '"""The client for synchronous code. `tools.synchronous_client` makes it of `asynchronous.py`: edit that."""'
)
NAMES: Final = {
    "AsyncClient": "Client",
    "AsyncIterator": "Iterator",
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "exchange_async": "exchange",
    "open_async_channel": "open_channel",
}


def synchronous(source: str) -> str:
    """Return the module without `async` and `await`, with the synchronous names, formatted by ruff."""
    lines = source.splitlines(keepends=True)
    names = [token for token in tokenize.generate_tokens(io.StringIO(source).readline) if token.type == tokenize.NAME]
    # From the end, so that the columns of the names before stay right.
    for name in reversed(names):
        (row, start), (_, end) = name.start, name.end
        line = lines[row - 1]
        if name.string in {"async", "await"}:
            lines[row - 1] = line[:start] + line[end:].lstrip(" ")
        else:
            lines[row - 1] = line[:start] + NAMES.get(name.string, name.string) + line[end:]
    lines[0] = f"{HEAD}\n"
    formatted = subprocess.run(
        [sys.executable, "-m", "ruff", "format", "--stdin-filename", str(CLIENT / "synchronous.py"), "-"],
        input="".join(lines),
        capture_output=True,
        text=True,
        check=True,
    )
    return formatted.stdout


def main() -> None:
    """Write the module, or compare it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    wanted = synchronous((CLIENT / "asynchronous.py").read_text())
    target = CLIENT / "synchronous.py"
    if not parser.parse_args().check:
        target.write_text(wanted)
    elif target.read_text() != wanted:
        raise SystemExit(f"{target} is not up to date: run `python -m tools.synchronous_client`")


if __name__ == "__main__":
    main()
