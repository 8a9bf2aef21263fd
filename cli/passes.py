"""`vyris pass`: build a membership's pass, inspect a pass, preview a pass."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer
from cryptography import x509
from rich.table import Table

from admin.pass_files import (
    Language,
    NotAPass,
    OpenedPass,
    judge_signature,
    local_root,
    open_pass,
    preview_html,
    preview_png,
    summary,
)
from admin.passes import MissingKeys, PassBuilder
from cli import backends
from cli.actor import BY_COMMAND, OptionalReason, operator
from cli.console import AsJson, err, fail, out, run_async, show_one
from services.server.runtime.settings import WrongSetting
from vyris.errors import VyrisError

app = typer.Typer(no_args_is_help=True, help="Build, inspect and preview passes.")

PassFile = Annotated[Path, typer.Argument(help="A .pkpass file.", exists=True, dir_okay=False, readable=True)]


@app.command()
@run_async
async def build(
    membership_id: Annotated[UUID, typer.Argument(metavar="MEMBERSHIP", help="The membership's id.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; by default the pass's own file name.")
    ] = None,
    reason: OptionalReason = BY_COMMAND,
) -> None:
    """Build the signed pass of a membership, as its owner gets it."""
    try:
        # The keys in the state folder belong to the local stack's database. Another one needs keys in the settings.
        builder = PassBuilder(backends.database_url(), may_make_keys=backends.is_local_database())
        async with backends.database() as database:
            built = await builder.build(database, membership_id, operator(reason))
    except MissingKeys as missing:
        fail(
            f"No pass: DATABASE_URL names another database than the local stack's, so set {missing} as its "
            "wallet service has them. A command makes no keys."
        )
    except (WrongSetting, VyrisError) as refusal:
        fail(f"No pass: {refusal}.")
    path = output or Path(built.file_name)
    path.write_bytes(built.content)
    err.print(f"Wrote {path} ({path.stat().st_size:,} bytes).", highlight=False)


@app.command()
def inspect(
    file: PassFile,
    root: Annotated[
        Path | None,
        typer.Option(help="PEM of the root to trust; by default the local stack's, if there is one.", exists=True),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show a pass's content, its signer, and whether it is valid. Exit status 1 if it is not."""
    opened = _open_pass(file)
    if root and not _holds_certificate(root):
        fail(f"{root} holds no certificate: --root is the PEM of the root that the signer should lead to.")
    verdict = judge_signature(opened, root or local_root())
    problems = opened.problems()
    facts = summary(opened) | {
        "signature": {True: "holds", False: "BROKEN", None: "not judged"}[verdict.holds] + f": {verdict.reason}",
        "manifest": "every file agrees" if not problems else "; ".join(problems),
    }
    show_one(facts, as_json=as_json)
    if not as_json:
        out.print(_files(opened))
    if problems or verdict.holds is False:
        raise typer.Exit(1)


@app.command()
def preview(
    file: PassFile,
    output: Annotated[Path, typer.Option("--output", "-o", help="A .html or .png file.")] = Path("pass.html"),
    language: Annotated[Language, typer.Option(help="Language of the phone.")] = Language.EN,
) -> None:
    """Draw a pass as a phone shows it."""
    opened = _open_pass(file)
    if output.suffix == ".png":
        output.write_bytes(_picture(opened, language.value))
    elif output.suffix in {".html", ".htm"}:
        output.write_text(preview_html(opened, language.value), encoding="utf-8")
    else:
        fail("The preview is a page or a picture: name an output that ends in .html or .png.")
    err.print(f"Wrote {output}.", highlight=False)


def _picture(opened: OpenedPass, language: str) -> bytes:
    try:
        return preview_png(opened, language)
    except ImportError:
        fail("A picture needs Pillow, which is not installed here; ask for a page (-o pass.html) instead.")


def _open_pass(file: Path) -> OpenedPass:
    try:
        return open_pass(file.read_bytes())
    except NotAPass as refusal:
        fail(f"{file} is {refusal}.")


def _holds_certificate(path: Path) -> bool:
    try:
        return bool(x509.load_pem_x509_certificates(path.read_bytes()))
    except ValueError:
        return False


def _files(opened: OpenedPass) -> Table:
    table = Table("file", "bytes")
    table.columns[1].justify = "right"
    for name, content in sorted(opened.files.items()):
        table.add_row(name, f"{len(content):,}")
    return table
