"""Device proofs: a device proves that it made exactly this request, within the last minute.

A proof is a compact ES256 JWS in the form of RFC 9449 (DPoP), sent in the HTTP
header `DPoP` or the gRPC metadata entry `dpop`:

    header   {"typ": "dpop+jwt", "alg": "ES256", "jwk": <the device's public key>}
    claims   htm   the HTTP method; POST for native gRPC
             htu   the URL without query; for native gRPC `/package.Service/Method`
             iat   seconds since 1970; a proof is valid for 60 s
             jti   1 to 128 printable characters, different in every proof
             req   our addition: `request_digest` of the request

Callers use `build_proof`; the services verify with the same functions.
"""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message

from vyris.device_keys import base64url, public_jwk
from vyris.http_rules import VARIABLE, bindings

PROOF_TYP: Final = "dpop+jwt"
METADATA_KEY: Final = "dpop"
AGE_LIMIT_S: Final = 60

_ESCAPES: Final = str.maketrans({"\\": "\\\\", "\n": "\\n"})


@dataclass(frozen=True, slots=True)
class Target:
    """A request's method and address: the claims `htm` and `htu`."""

    htm: str
    htu: str


def grpc_target(method: MethodDescriptor) -> Target:
    """The target of a native gRPC call."""
    return Target("POST", f"/{method.containing_service.full_name}/{method.name}")


def http_target(base_url: str, method: MethodDescriptor, request: Message) -> Target | None:
    """The target of the same call through the gateway at `base_url`; None if it has no HTTP form.

    Variables in the path get the request's values, percent-encoded.
    """
    found = bindings(method.GetOptions())
    if not found:
        return None
    path = VARIABLE.sub(lambda name: quote(str(getattr(request, name[1])), safe=""), found[0].template)
    return Target(found[0].http_method, base_url.rstrip("/") + path)


def request_digest(request: Message) -> str:
    r"""The claim `req`: base64url SHA-256 of the request's set fields, written as lines.

    One line `name=value` for each set field, in the order of the proto's field numbers, in UTF-8. Each line ends with
    LF, the last one too. A field is set if protobuf would send it: a field without explicit presence if its value is
    not the type's default, a field with presence (`optional`, messages) if it is present.

    - strings: unchanged, but with `\` written `\\` and LF written `\n`
    - integers and enums: decimal; booleans: `true` or `false`
    - bytes: base64url without padding
    - a message: its own lines, each name with the prefix `<field>.`; a message without set fields gives the line
      `<field>=`
    - repeated fields: one element after the other, named `<field>.0`, `<field>.1` ...

    Names are those of the proto (`membership_id`), also if the JSON used another spelling. Maps and floating-point
    fields have no form: raises `TypeError`.
    """
    lines = "".join(f"{name}={value}\n" for name, value in _lines(request, ""))
    return base64url(hashlib.sha256(lines.encode()).digest())


def build_proof(
    key: ec.EllipticCurvePrivateKey,
    request: Message,
    target: Target,
    *,
    issued_at_s: int | None = None,
    proof_id: str | None = None,
) -> str:
    """Sign a proof for `request`, valid for one call within 60 s of `issued_at_s`. Return the compact JWS.

    `key`: the device's P-256 key. `target`: the call's method and address. `issued_at_s`: seconds since 1970 (default:
    now). `proof_id`: the claim jti, 1 to 128 printable characters (default: a random UUID).
    """
    claims = {
        "htm": target.htm,
        "htu": target.htu,
        "iat": int(time.time()) if issued_at_s is None else issued_at_s,
        "jti": proof_id or str(uuid.uuid4()),
        "req": request_digest(request),
    }
    header: dict[str, Any] = {"typ": PROOF_TYP, "jwk": public_jwk(key.public_key())}
    return jwt.encode(claims, key, algorithm="ES256", headers=header)


def _lines(message: Message, prefix: str) -> Iterator[tuple[str, str]]:
    for field, value in sorted(message.ListFields(), key=lambda pair: pair[0].number):
        name = prefix + field.name
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            raise TypeError(f"{field.full_name}: a map has no form in a device proof")
        if field.is_repeated:
            for index, element in enumerate(value):
                yield from _element_lines(field, f"{name}.{index}", element)
        else:
            yield from _element_lines(field, name, value)


def _element_lines(field: FieldDescriptor, name: str, value: Any) -> Iterator[tuple[str, str]]:
    if field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE:
        inner = list(_lines(value, f"{name}."))
        yield from inner or [(name, "")]
    else:
        yield name, _text(field, value)


def _text(field: FieldDescriptor, value: Any) -> str:
    if field.type == FieldDescriptor.TYPE_BYTES:
        return base64url(value)
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return str(value).translate(_ESCAPES)
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return "true" if value else "false"
    if field.cpp_type in (FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE):
        raise TypeError(f"{field.full_name}: floating point has no form in a device proof")
    return str(int(value))
