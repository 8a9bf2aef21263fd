"""`python -m gateway.pages`: write `gateway/static`; with `--check`, exit with 1 if it is not up to date."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from gateway.openapi.api import Api
from gateway.openapi.document import as_text, build
from gateway.pages.inlined import SOURCES, HtmlPage, render_page
from gateway.pages.reference import facts

STATIC: Final = Path(__file__).resolve().parents[1] / "static"
DRAW_PATH: Final = "/drops/{tier}/{year}/draw"
VERIFIER_PATH: Final = "/draw/verify.py"
# Served as it is; the other name keeps it from being taken for a part of this package.
VERIFIER_FILE: Final = "verify.py.txt"


def made() -> dict[str, str]:
    """Every file of the folder, by name."""
    document = build(Api.load())
    docs = render_page("docs", facts(document))
    live = render_page("live", {})
    draw = render_page("draw", {})
    pages = [
        {"path": "/openapi.json", "file": "openapi.json", "content_type": "application/json"},
        _html_entry("/docs", "docs.html", docs),
        _html_entry("/drops/{tier}/{year}/live", "live.html", live),
        # Not cached: a cache that ignores `Vary` would hand the page to callers who ask for the document.
        _html_entry(DRAW_PATH, "draw.html", draw) | {"accept": "text/html", "cache_control": "no-store"},
        {"path": VERIFIER_PATH, "file": VERIFIER_FILE, "content_type": "text/plain; charset=utf-8"},
    ]
    return {
        "openapi.json": as_text(document),
        "docs.html": docs.text,
        "live.html": live.text,
        "draw.html": draw.text,
        VERIFIER_FILE: (SOURCES / "verify.py").read_text(encoding="utf-8"),
        "pages.json": json.dumps({"pages": pages}, indent=1) + "\n",
    }


def _html_entry(path: str, file: str, page: HtmlPage) -> dict[str, str]:
    return {
        "path": path,
        "file": file,
        "content_type": "text/html; charset=utf-8",
        "content_security_policy": page.content_security_policy,
    }


def main(check: Annotated[bool, typer.Option("--check", help="Write nothing; compare.")] = False) -> None:
    """Write the pages that the gateway serves itself, or check that they are up to date."""
    files = made()
    if not check:
        for name, text in files.items():
            (STATIC / name).write_text(text, encoding="utf-8")
        return
    there = {path.name: path.read_text(encoding="utf-8") for path in STATIC.iterdir() if path.is_file()}
    stale = sorted(name for name in files.keys() | there.keys() if files.get(name) != there.get(name))
    for name in stale:
        typer.echo(f"not what `python -m gateway.pages` makes: gateway/static/{name}", err=True)
    if stale:
        typer.echo("run `make protos` and commit the result", err=True)
        sys.exit(1)


if __name__ == "__main__":
    typer.run(main)
