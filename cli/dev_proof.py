"""`vyris dev proof`: make a device proof for a request with curl."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import Annotated, Final
from urllib.parse import parse_qsl, unquote, urlsplit

import typer
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.json_format import Parse, ParseDict, ParseError
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from pydantic_settings import SettingsConfigDict

from cli.backends import listed_ports
from cli.console import fail
from cli.dev_keys import DeviceName, device_private_key
from services.identity.device_proof.settings import DeviceProofSettings
from services.server.runtime.settings import load
from suite import SUITE
from vyris.device_proof import Target, build_proof, grpc_target, http_target
from vyris.http_rules import VARIABLE, bindings

# Health takes no device proof.
_SERVICES: Final = [d for service in SUITE for d in service.descriptors if d.name != "SuiteService"]


class _Settings(DeviceProofSettings):
    """The settings that device proofs depend on; the services read the same."""

    model_config = SettingsConfigDict(env_file=".env", env_ignore_empty=True, extra="ignore")


def proof(
    device: DeviceName,
    method: Annotated[str, typer.Argument(help="GET or POST; or GRPC for a native call.")],
    path: Annotated[str, typer.Argument(help="/issue-pass and the like; for GRPC /package.Service/Method.")],
    body: Annotated[str, typer.Argument(help="The JSON body of the request; - reads it from standard input.")] = "",
) -> None:
    """Print a device proof. It works once and for 60 seconds. Send it in the header DPoP."""
    text = sys.stdin.read() if body == "-" else body
    if method.upper() == "GRPC":
        rpc, request = _grpc_call(path, text)
        target: Target | None = grpc_target(rpc)
    else:
        rpc, request = _http_call(method.upper(), path, text)
        target = http_target(_base_url(), rpc, request)
    if target is None:
        fail(f"{method} {path} has no HTTP form.")
    typer.echo(build_proof(device_private_key(device), request, target))


def _http_call(method: str, path: str, body: str) -> tuple[MethodDescriptor, Message]:
    parts = urlsplit(path)
    for rpc in _methods():
        for binding in bindings(rpc.GetOptions()):
            found = re.fullmatch(VARIABLE.sub(r"(?P<\1>[^/]+)", binding.template), parts.path)
            if found is not None and binding.http_method == method:
                request = _parse(rpc, body)
                from_address = {**dict(parse_qsl(parts.query)), **{k: unquote(v) for k, v in found.groupdict().items()}}
                return rpc, _merge(request, from_address)
    fail(f"There is no call {method} {parts.path}. There are: {', '.join(_http_calls())}.")


def _grpc_call(path: str, body: str) -> tuple[MethodDescriptor, Message]:
    for rpc in _methods():
        if grpc_target(rpc).htu == path:
            return rpc, _parse(rpc, body)
    fail(f"There is no call {path}. A native call is named /package.Service/Method, /vyris.mint.v1.MintService/Mint.")


def _http_calls() -> Iterator[str]:
    for rpc in _methods():
        for binding in bindings(rpc.GetOptions()):
            # Apple's web service (/v1/) takes no device proof.
            if not binding.template.startswith("/v1/"):
                yield f"{binding.http_method} {binding.template}"


def _methods() -> Iterator[MethodDescriptor]:
    for service in _SERVICES:
        yield from service.methods


def _parse(rpc: MethodDescriptor, body: str) -> Message:
    request = GetMessageClass(rpc.input_type)()
    try:
        return Parse(body, request, ignore_unknown_fields=True) if body.strip() else request
    except ParseError as problem:
        fail(f"The body is not a JSON {rpc.input_type.name}: {problem}")


def _merge(request: Message, fields: dict[str, str]) -> Message:
    try:
        return ParseDict(fields, request, ignore_unknown_fields=True)
    except ParseError:
        fail("The address holds a value of the wrong type.")


def _base_url() -> str:
    """PUBLIC_BASE_URL, or else the address of the local stack's gateway."""
    settings = load(_Settings)
    listed = listed_ports().get("gateway")
    if "public_base_url" in settings.model_fields_set or listed is None:
        return settings.public_base_url
    return f"http://localhost:{listed}"
