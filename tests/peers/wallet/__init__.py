"""Second opinions on passes: Node's `pkijs` and `passkit-generator`. `npm ci` here installs them."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


def missing() -> str | None:
    """The reason why the peers cannot run, as a sentence; None if they can."""
    if shutil.which("node") is None:
        return "Node is not installed"
    if not (FOLDER / "node_modules" / "pkijs").exists():
        return "The peers are not installed: `make test-peers` does it (npm ci in tests/peers/wallet)"
    return None


def pkijs_verdict(folder: Path, root: Path) -> dict[str, Any]:
    """The result of pkijs for the unpacked pass in `folder`."""
    return _answer("verify_pass.mjs", str(folder), str(root))


def passkit_generator(folder: Path, keys: Path, seconds: float, output: Path) -> dict[str, Any]:
    """Passes a second and CPU milliseconds a pass, for the files in `folder`; writes the last pass."""
    names = ("pass_certificate.pem", "pass_key.pem", "pass_wwdr.pem")
    return _answer("press_passes.mjs", str(folder), *(str(keys / name) for name in names), str(seconds), str(output))


def _answer(script: str, *arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        ["node", str(FOLDER / script), *arguments], capture_output=True, text=True, timeout=120, check=False
    )
    if not done.stdout.strip():
        raise RuntimeError(done.stderr)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer
