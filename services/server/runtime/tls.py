"""Certificates of a service's port, read again when their files change.

SERVER_TLS_CERT_FILE, SERVER_TLS_KEY_FILE   the service's own; issued for the name mint, encounter, wallet or reforge
SERVER_TLS_CLIENT_CA_FILE                   a caller needs a certificate by this authority (mutual TLS)
SERVER_TLS_CLIENT_NAMES                     and the certificate needs one of these names, except for health
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import grpc
import structlog
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificates
from google.protobuf.message import Message

from services.server.runtime.boundary import Authenticate
from services.server.runtime.call import Call
from services.server.runtime.settings import ServiceSettings, WrongSetting
from vyris.errors import Unauthorized

log = structlog.get_logger(__name__)
FILE_LIMIT_BYTES: Final = 1 << 20


class Certificates:
    """Key, chain and authority, as they are in their files now."""

    def __init__(self, cert: Path, key: Path, client_ca: Path | None) -> None:
        """Read the files. Raises WrongSetting if one is unreadable."""
        self._cert, self._key, self._client_ca = cert, key, client_ca
        self._seen = self._stamps()
        self.key_pem, self.chain_pem, self.ca_pem = self._read()

    @property
    def mutual(self) -> bool:
        """Whether callers need a certificate."""
        return self._client_ca is not None

    def renewed(self) -> bool:
        """Read the files again if they have changed; return whether they were.

        Half-written files wait for the next call.
        """
        try:
            stamps = self._stamps()
            if stamps == self._seen:
                return False
            read = self._read()
            self._configuration(*read)
        except (WrongSetting, ValueError) as problem:
            log.warning("certificates_unreadable", problem=str(problem))
            return False
        self._seen = stamps
        self.key_pem, self.chain_pem, self.ca_pem = read
        return True

    def server_credentials(self) -> grpc.ServerCredentials:
        """Credentials that use the files' content at each handshake."""

        def look() -> grpc.ServerCertificateConfiguration | None:
            return self._configuration(self.key_pem, self.chain_pem, self.ca_pem) if self.renewed() else None

        first = self._configuration(self.key_pem, self.chain_pem, self.ca_pem)
        return grpc.dynamic_ssl_server_credentials(
            first,
            look,  # type: ignore[arg-type]  # None means unchanged; the stubs do not allow it
            require_client_authentication=self.mutual,
        )

    def channel_credentials(self) -> grpc.ChannelCredentials:
        """Credentials for calling a service of the same suite."""
        return grpc.ssl_channel_credentials(self.ca_pem, self.key_pem, self.chain_pem)

    @staticmethod
    def _configuration(key: bytes, chain: bytes, ca: bytes | None) -> grpc.ServerCertificateConfiguration:
        return grpc.ssl_server_certificate_configuration([(key, chain)], ca)

    def _stamps(self) -> tuple[tuple[int, int], ...]:
        try:
            # Kubernetes swaps a symbolic link, so the target's inode changes.
            found = [path.stat() for path in (self._cert, self._key, self._client_ca) if path is not None]
        except OSError as error:
            raise WrongSetting(f"SERVER_TLS files cannot be read: {error.strerror}") from None
        return tuple((stat.st_ino, stat.st_mtime_ns) for stat in found)

    def _read(self) -> tuple[bytes, bytes, bytes | None]:
        key, chain = _pem("SERVER_TLS_KEY_FILE", self._key), _pem("SERVER_TLS_CERT_FILE", self._cert)
        ca = None if self._client_ca is None else _pem("SERVER_TLS_CLIENT_CA_FILE", self._client_ca)
        _refuse_unfit(key, chain, ca)
        return key, chain, ca


def _pem(setting: str, path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(FILE_LIMIT_BYTES)
    except OSError as error:
        raise WrongSetting(f"{setting} cannot be read: {error.strerror}") from None
    if b"-----BEGIN " not in content:
        raise WrongSetting(f"{setting} holds no PEM")
    return content


def _refuse_unfit(key: bytes, chain: bytes, ca: bytes | None) -> None:
    """Check that key and certificate match. gRPC core would only report that it cannot listen. Raises WrongSetting."""
    try:
        own = load_pem_x509_certificates(chain)[0].public_key()
    except ValueError:
        raise WrongSetting("SERVER_TLS_CERT_FILE holds no certificate") from None
    try:
        fits = load_pem_private_key(key, None).public_key() == own
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise WrongSetting("SERVER_TLS_KEY_FILE holds no private key that is not encrypted") from None
    if not fits:
        raise WrongSetting("SERVER_TLS_KEY_FILE holds another key than that of SERVER_TLS_CERT_FILE")
    try:
        _ = ca is None or load_pem_x509_certificates(ca)
    except ValueError:
        raise WrongSetting("SERVER_TLS_CLIENT_CA_FILE holds no certificate") from None


def certificates(settings: ServiceSettings) -> Certificates | None:
    """Read the certificates of the settings. Return None for plain text. Raises WrongSetting."""
    cert, key, client_ca = (
        settings.server_tls_cert_file,
        settings.server_tls_key_file,
        settings.server_tls_client_ca_file,
    )
    if (cert is None) != (key is None):
        raise WrongSetting("SERVER_TLS_CERT_FILE and SERVER_TLS_KEY_FILE come together")
    names = parse_names(settings.server_tls_client_names)
    if cert is None or key is None:
        if client_ca is not None:
            raise WrongSetting("SERVER_TLS_CLIENT_CA_FILE needs SERVER_TLS_CERT_FILE")
        if names:
            raise WrongSetting("SERVER_TLS_CLIENT_NAMES needs SERVER_TLS_CLIENT_CA_FILE")
        return None
    if names and client_ca is None:
        raise WrongSetting("SERVER_TLS_CLIENT_NAMES needs SERVER_TLS_CLIENT_CA_FILE")
    if settings.production and client_ca is not None and not names:
        raise WrongSetting(
            "SERVER_TLS_CLIENT_NAMES is not set, so every certificate of the authority could call this service: "
            "production needs the names of its callers, such as the gateway's"
        )
    return Certificates(cert, key, client_ca)


def parse_names(text: str) -> frozenset[str]:
    """Parse a setting with names of certificates, separated by commas."""
    listed = (name.strip() for name in text.split(","))
    return frozenset(_comparable(name) for name in listed if name)


def has_name_of(names: frozenset[str], call: Call) -> bool:
    """Whether the caller's certificate has one of these names."""
    return not names.isdisjoint(map(_comparable, call.certificate_names()))


def require_client_names(settings: ServiceSettings, authenticate: Authenticate | None) -> Authenticate | None:
    """Make an `Authenticate` that refuses certificates without an allowed name, and then calls `authenticate`."""
    names = parse_names(settings.server_tls_client_names)
    if not names:
        return authenticate

    async def check(request: Message, call: Call) -> None:
        if not has_name_of(names, call):
            raise Unauthorized("The client certificate has no name that may call this service")
        if authenticate is not None:
            await authenticate(request, call)

    return check


def _comparable(name: str) -> str:
    """Normalise a name for a comparison: host names ignore case (RFC 4343), URIs do not."""
    return name if "://" in name else name.lower()
