"""`python -m tests.chaos.broken.mint <variant>`: the mint process with one thing broken."""

from __future__ import annotations

import sys

from services.mint.__main__ import build
from services.mint.settings import MintSettings
from services.server.runtime.process import run
from services.server.runtime.settings import load
from tests.chaos.broken.variants import VARIANTS

if __name__ == "__main__":
    VARIANTS[sys.argv[1]].break_it()
    settings = load(MintSettings)
    run("mint", settings, settings.mint_port, build)
