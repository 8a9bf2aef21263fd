"""Keys of test devices on this machine, in `keys/devices/` of the state folder."""

from __future__ import annotations

import json
import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from cli.backends import BackendSettings
from cli.console import fail
from services.identity.development_keys import read_or_make_p256_key
from services.server.runtime.settings import WrongSetting
from stack.state import StateFolder
from vyris.device_keys import canonical_jwk, public_jwk, thumbprint

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

DeviceName = Annotated[str, typer.Argument(help="The device's name on this machine, for example phone-a.")]


class Form(StrEnum):
    """The form in which a public key is printed."""

    PEM = "pem"
    JWK = "jwk"
    JSON = "json"
    THUMBPRINT = "thumbprint"


def device_key(
    name: DeviceName,
    form: Annotated[
        Form, typer.Option("--form", help="pem; jwk; json: the PEM as a JSON string, for a request's body; thumbprint.")
    ] = Form.PEM,
) -> None:
    """Print a device's public key. The first call makes the key pair."""
    public = device_private_key(name, make=True).public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    texts = {
        Form.PEM: pem.rstrip(),
        Form.JWK: canonical_jwk(public_jwk(public)),
        Form.JSON: json.dumps(pem),
        Form.THUMBPRINT: thumbprint(canonical_jwk(public_jwk(public))),
    }
    typer.echo(texts[form])


def device_private_key(name: str, *, make: bool = False) -> ec.EllipticCurvePrivateKey:
    """Read the device's private key. Ends the command with a message if there is none."""
    path = _path(name)
    if not make and not path.exists():
        fail(f"There is no device {name} on this machine: `vyris dev device-key {name}` makes one.")
    try:
        return read_or_make_p256_key(path.parent, path.name)
    except WrongSetting as problem:
        fail(f"{problem}.")


def _path(name: str) -> Path:
    if not _NAME.fullmatch(name):
        fail("A device's name is 1 to 64 letters, digits, dots, hyphens and underscores.")
    return StateFolder(BackendSettings().vyris_state_dir).keys / "devices" / f"{name}.pem"
