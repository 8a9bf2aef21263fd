"""Settings are checked before anything starts, and the error names the wrong one."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from gateway.settings import Endpoint, GatewaySettings, parse_endpoints


def _settings(**values: Any) -> GatewaySettings:
    return GatewaySettings(_env_file=None, **values)


def test_services_default_to_their_ports_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _settings().endpoints("mint") == [Endpoint("127.0.0.1", 50051)]
    assert _settings().endpoints("reforge") == [Endpoint("127.0.0.1", 50054)]
    monkeypatch.setenv("WALLET_PORT", "6000")
    assert _settings().endpoints("wallet") == [Endpoint("127.0.0.1", 6000)]
    monkeypatch.setenv("WALLET_ADDRESS", "wallet.svc:1, 10.0.0.1:2,[::1]:3")
    assert _settings().endpoints("wallet") == [Endpoint("wallet.svc", 1), Endpoint("10.0.0.1", 2), Endpoint("::1", 3)]


@pytest.mark.parametrize("text", ["", "host", "host:", ":80", "host:0", "host:70000", "host:x", "a:1,,b:2"])
def test_a_malformed_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not host:port"):
        parse_endpoints(text)


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"mint_address": "nowhere"}, "MINT_ADDRESS"),
        ({"gateway_port": 0}, "gateway_port"),
        ({"gateway_port": "http"}, "gateway_port"),
        ({"gateway_tls_cert_file": "/a"}, "GATEWAY_TLS_CERT_FILE and GATEWAY_TLS_KEY_FILE"),
        ({"gateway_upstream_cert_file": "/a", "gateway_upstream_key_file": "/b"}, "GATEWAY_UPSTREAM_CA_FILE"),
        ({"gateway_concurrency": 0}, "gateway_concurrency"),
        ({"gateway_request_timeout_s": 0}, "gateway_request_timeout_s"),
        ({"otel_exporter_otlp_endpoint": "http://nowhere"}, "OTEL_EXPORTER_OTLP_ENDPOINT"),
        ({"gateway_cors_origins": "*"}, "GATEWAY_CORS_ORIGINS"),
        ({"gateway_cors_origins": "https://a.example/path"}, "GATEWAY_CORS_ORIGINS"),
    ],
)
def test_a_wrong_setting_names_itself(values: dict[str, Any], name: str) -> None:
    with pytest.raises(ValidationError, match=name):
        _settings(**values)


def test_reflection_is_for_development() -> None:
    assert _settings().reflection
    assert not _settings(vyris_env="production").reflection
    assert _settings(vyris_env="production", gateway_reflection=True).reflection


def test_origins_are_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_CORS_ORIGINS", "https://a.example, http://localhost:5173")
    assert _settings().gateway_cors_origins == ("https://a.example", "http://localhost:5173")


def test_a_collector_is_named_with_or_without_a_scheme() -> None:
    for text in ("http://otel:4317", "otel:4317", "http://otel:4317/"):
        assert _settings(otel_exporter_otlp_endpoint=text).otlp_collector == Endpoint("otel", 4317)
    assert _settings().otlp_collector is None
