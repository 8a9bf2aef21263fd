"""Certificates for callers and for the services. All of them are reloaded when their files change."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

from envoy.config.core.v3.base_pb2 import DataSource, WatchedDirectory
from envoy.config.core.v3.config_source_pb2 import ApiVersion, ConfigSource, PathConfigSource
from envoy.extensions.transport_sockets.tls.v3.common_pb2 import (
    CertificateValidationContext,
    SubjectAltNameMatcher,
    TlsCertificate,
    TlsParameters,
)
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import SdsSecretConfig, Secret
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import CommonTlsContext, DownstreamTlsContext, UpstreamTlsContext
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryResponse
from envoy.type.matcher.v3.string_pb2 import StringMatcher

from gateway.messages import pack
from gateway.settings import GatewaySettings

LISTENER_SECRET = "listener_certificate"  # noqa: S105  # a name
UPSTREAM_SECRET = "upstream_certificate"  # noqa: S105  # a name
AUTHORITY_SECRET = "upstream_authority"  # noqa: S105  # a name


def secret_file(folder: Path, name: str) -> Path:
    """The source of the secret `name` for Envoy."""
    return folder / f"{name}.json"


def _from_file(path: Path) -> Any:
    return DataSource(filename=str(path.resolve()))


def _by_name(settings_folder: Path, name: str) -> Any:
    source = ConfigSource(
        path_config_source=PathConfigSource(path=str(secret_file(settings_folder, name).resolve())),
        resource_api_version=ApiVersion.V3,
    )
    return SdsSecretConfig(name=name, sds_config=source)


def _parameters() -> Any:
    return TlsParameters(tls_minimum_protocol_version=TlsParameters.TLSv1_2)


def _folder_of(path: Path) -> Any:
    """Watch the folder, because Kubernetes swaps a symbolic link in it."""
    return WatchedDirectory(path=str(path.absolute().parent))


def _authority(path: Path) -> Any:
    context = CertificateValidationContext(trusted_ca=_from_file(path), watched_directory=_folder_of(path))
    return Secret(name=AUTHORITY_SECRET, validation_context=context)


def _certificate(name: str, cert: Path, key: Path) -> Any:
    return Secret(
        name=name,
        tls_certificate=TlsCertificate(
            certificate_chain=_from_file(cert),
            private_key=_from_file(key),
            watched_directory=_folder_of(cert),
        ),
    )


def secrets(settings: GatewaySettings) -> dict[str, Any]:
    """The file content (a DiscoveryResponse) of each secret in the settings."""
    found = {}
    if settings.gateway_tls_cert_file and settings.gateway_tls_key_file:
        found[LISTENER_SECRET] = _certificate(
            LISTENER_SECRET, settings.gateway_tls_cert_file, settings.gateway_tls_key_file
        )
    if settings.gateway_upstream_cert_file and settings.gateway_upstream_key_file:
        found[UPSTREAM_SECRET] = _certificate(
            UPSTREAM_SECRET, settings.gateway_upstream_cert_file, settings.gateway_upstream_key_file
        )
    if settings.gateway_upstream_ca_file:
        found[AUTHORITY_SECRET] = _authority(settings.gateway_upstream_ca_file)
    return {name: DiscoveryResponse(resources=[pack(secret)]) for name, secret in found.items()}


def listener_tls(settings: GatewaySettings, protocols: list[str]) -> Any | None:
    """TLS for callers; None if it is not configured. `protocols`: the ALPN names."""
    if settings.gateway_tls_cert_file is None:
        return None
    return DownstreamTlsContext(
        common_tls_context=CommonTlsContext(
            tls_params=_parameters(),
            alpn_protocols=protocols,
            tls_certificate_sds_secret_configs=[_by_name(settings.gateway_secrets_dir, LISTENER_SECRET)],
        )
    )


def upstream_tls(settings: GatewaySettings, service: str) -> Any | None:
    """TLS to a service, mutual if the gateway has a certificate; None if it is not configured."""
    if settings.gateway_upstream_ca_file is None:
        return None
    server_name = settings.gateway_upstream_server_name.format(service=service)
    context = CommonTlsContext(
        tls_params=_parameters(),
        alpn_protocols=["h2"],
        combined_validation_context=CommonTlsContext.CombinedCertificateValidationContext(
            default_validation_context=CertificateValidationContext(
                match_typed_subject_alt_names=[
                    SubjectAltNameMatcher(san_type=SubjectAltNameMatcher.DNS, matcher=StringMatcher(exact=server_name))
                ],
            ),
            validation_context_sds_secret_config=_by_name(settings.gateway_secrets_dir, AUTHORITY_SECRET),
        ),
    )
    if settings.gateway_upstream_cert_file is not None:
        context.tls_certificate_sds_secret_configs.append(_by_name(settings.gateway_secrets_dir, UPSTREAM_SECRET))
    return UpstreamTlsContext(common_tls_context=context, sni=server_name)


def refuse_unusable_files(settings: GatewaySettings) -> None:
    """Check the files. Envoy would only warn, and then refuse every caller. Raises ValueError."""
    for cert, key in (
        ("gateway_tls_cert_file", "gateway_tls_key_file"),
        ("gateway_upstream_cert_file", "gateway_upstream_key_file"),
    ):
        chain_file, key_file = getattr(settings, cert), getattr(settings, key)
        if chain_file is None:
            continue
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(chain_file, key_file)
        except OSError as problem:  # SSLError is a subclass
            why = problem.strerror or "one is no PEM, or the key is another certificate's"
            raise ValueError(f"{cert.upper()} and {key.upper()} cannot be used: {why}") from None
    if settings.gateway_upstream_ca_file is not None:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(settings.gateway_upstream_ca_file)
        except OSError as problem:
            why = problem.strerror or "it holds no certificate in PEM"
            raise ValueError(f"GATEWAY_UPSTREAM_CA_FILE cannot be used: {why}") from None
