"""`vyris pass`: build a membership's pass, look into one, see how it looks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer
from cryptography import x509
from cryptography.x509.oid import NameOID
from pydantic import ValidationError
from rich.table import Table

from cli import backends
from cli.actor import BY_COMMAND, OptionalReason, operator
from cli.console import AsJson, err, fail, out, run_async, show_one
from services.runtime.settings import WrongSetting
from services.wallet.certificates import subject_value
from services.wallet.development_certificates import ROOT_FILE
from services.wallet.inspection import judge_signature, signers
from services.wallet.issuing import issue_to_operator
from services.wallet.opened_pass import NotAPass, OpenedPass, open_pass
from services.wallet.package import PassPress
from services.wallet.pass_json import file_name
from services.wallet.phrases import Language
from services.wallet.preview.html import preview_html
from services.wallet.settings import WalletSettings
from services.wallet.signing_setup import credentials_from, issuer_from, keys_folder, tokens_from
from vyris.errors import VyrisError

app = typer.Typer(no_args_is_help=True, help="Build, inspect and preview passes.")

PassFile = Annotated[Path, typer.Argument(help="A .pkpass file.", exists=True, dir_okay=False, readable=True)]


@app.command()
@run_async
async def build(
    membership_id: Annotated[UUID, typer.Argument(metavar="MEMBERSHIP", help="The membership's id.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where to write it; by default as it is named for download.")
    ] = None,
    reason: OptionalReason = BY_COMMAND,
) -> None:
    """Build the signed pass of a membership, as its owner gets it."""
    settings = WalletSettings(database_url=backends.database_url())
    _refuse_keys_of_another_database(settings)
    try:
        credentials, tokens = credentials_from(settings), tokens_from(settings)
        async with backends.database() as database:
            facts = await issue_to_operator(database, membership_id, operator(reason))
    except (WrongSetting, VyrisError) as refusal:
        fail(f"No pass: {refusal}.")
    path = output or Path(file_name(facts))
    path.write_bytes(
        PassPress(issuer_from(settings), credentials).press(facts, tokens.token(UUID(facts.serial_number)))
    )
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
    """Show what is in a pass, who signed it, and whether it holds. Exit status 1 where it does not."""
    opened = _opened(file)
    if root and not _holds_certificate(root):
        fail(f"{root} holds no certificate: --root is the PEM of the root that the signer should lead to.")
    trusted = root or _local_root()
    verdict = judge_signature(opened, trusted)
    problems = opened.problems()
    facts = _summary(opened) | {
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
    opened = _opened(file)
    if output.suffix == ".png":
        output.write_bytes(_picture(opened, language.value))
    elif output.suffix in {".html", ".htm"}:
        output.write_text(preview_html(opened, language.value), encoding="utf-8")
    else:
        fail("The preview is a page or a picture: name an output that ends in .html or .png.")
    err.print(f"Wrote {output}.", highlight=False)


def _refuse_keys_of_another_database(settings: WalletSettings) -> None:
    """The keys in the state folder are those of the local stack's database. For another one there must be settings."""
    if backends.is_local_database():
        return
    given = {
        "PASS_AUTH_KEY": settings.pass_auth_key.get_secret_value(),
        "PKPASS_CERTIFICATE": settings.pkpass_certificate,
        "PKPASS_KEY": settings.pkpass_key.get_secret_value(),
        "PKPASS_WWDR": settings.pkpass_wwdr,
    }
    missing = [name for name, value in given.items() if not value]
    if missing:
        fail(
            f"No pass: DATABASE_URL names another database than the local stack's, so set {', '.join(missing)} as its "
            "wallet service has them. A command makes no keys."
        )


def _picture(opened: OpenedPass, language: str) -> bytes:
    try:
        from services.wallet.preview.png import preview_png  # noqa: PLC0415 - Pillow is a tool of development
    except ImportError:
        fail("A picture needs Pillow, which is not installed here; ask for a page (-o pass.html) instead.")
    return preview_png(opened, language)


def _opened(file: Path) -> OpenedPass:
    try:
        return open_pass(file.read_bytes())
    except NotAPass as refusal:
        fail(f"{file} is {refusal}.")


def _local_root() -> Path | None:
    try:
        root = keys_folder(WalletSettings(database_url="")) / ROOT_FILE
    except ValidationError:
        return None
    return root if root.exists() else None


def _holds_certificate(path: Path) -> bool:
    try:
        return bool(x509.load_pem_x509_certificates(path.read_bytes()))
    except ValueError:
        return False


def _summary(opened: OpenedPass) -> dict[str, Any]:
    document = opened.document
    # The signer first, then who vouches for it.
    certificates = sorted(signers(opened), key=_is_authority)
    names = [subject_value(part, NameOID.COMMON_NAME) for part in certificates]
    return {
        "serial": document.get("serialNumber"),
        "pass_type": document.get("passTypeIdentifier"),
        "team": document.get("teamIdentifier"),
        "number": _primary(document),
        "voided": bool(document.get("voided", False)),
        "web_service": document.get("webServiceURL", ""),
        "languages": ", ".join(opened.languages()),
        "certificates": " < ".join(str(name) for name in names) or "none",
        "valid_until": min((part.not_valid_after_utc for part in certificates), default=None),
    }


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return bool(certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca)
    except x509.ExtensionNotFound:
        return False


def _primary(document: dict[str, Any]) -> str:
    fields = document.get("storeCard", {}).get("primaryFields", [{}])
    return str(fields[0].get("value", "")) if fields else ""


def _files(opened: OpenedPass) -> Table:
    table = Table("file", "bytes")
    table.columns[1].justify = "right"
    for name, content in sorted(opened.files.items()):
        table.add_row(name, f"{len(content):,}")
    return table
