"""Change an owner's address: the command asks the reforge service.

The links in the mails are derived from the service's key, so only the service can make them. A command that made a key
of its own would send links that do not work.
"""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

import grpc

from admin.settings import OperatorSettings
from services.data.audit_log import Actor
from vyris.error_wire import from_rpc_error
from vyris.errors import VyrisError
from vyris.reforge.v1 import operator_pb2, operator_pb2_grpc

LIMIT_S: Final = 20.0
CERTIFICATE_NAME: Final = "reforge"


class EmailNotChanged(Exception):
    """The message says why, or that it is not known whether it was changed."""


def change_owner_email(
    settings: OperatorSettings, address: str, *, membership_id: UUID, email: str, actor: Actor
) -> operator_pb2.ChangeOwnerEmailResponse:
    """Ask the reforge service at `address` (host:port) to change an owner's address. Raises EmailNotChanged.

    The service writes the entry in the audit log, in the transaction of the change.
    """
    request = operator_pb2.ChangeOwnerEmailRequest(
        membership_id=str(membership_id), email=email, actor=actor.name, reason=actor.reason
    )
    with _channel(settings, address) as channel:
        stub = operator_pb2_grpc.OperatorServiceStub(channel)
        try:
            return stub.ChangeOwnerEmail(request, timeout=LIMIT_S)
        except grpc.RpcError as error:
            raise EmailNotChanged(_why(error, address)) from None


def _channel(settings: OperatorSettings, address: str) -> grpc.Channel:
    if settings.operator_tls_ca_file is None:
        return grpc.insecure_channel(address)
    ca, cert, key = settings.operator_tls_ca_file, settings.operator_tls_cert_file, settings.operator_tls_key_file
    assert cert is not None and key is not None  # noqa: S101, PT018 - the settings' own check
    credentials = grpc.ssl_channel_credentials(ca.read_bytes(), key.read_bytes(), cert.read_bytes())
    return grpc.secure_channel(address, credentials, [("grpc.ssl_target_name_override", CERTIFICATE_NAME)])


def _why(error: Any, address: str) -> str:
    """The sentence for a refusal, or for a service that cannot be reached."""
    code = error.code()
    refusal: VyrisError | None = from_rpc_error(code, error.details() or "", tuple(error.trailing_metadata() or ()))
    asked = f"(asked reforge at {address}; REFORGE_ADDRESS names another)"
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return f"Not changed: reforge at {address} is older than this command."
    if refusal is None or code is grpc.StatusCode.UNAVAILABLE:
        return (
            f"It is not known whether it was changed: reforge at {address} gave no answer ({code.name}). "
            "Does it run, and do both sides speak TLS, or neither? Asking again does no harm."
        )
    return f"Not changed: {refusal.message} {asked}."
