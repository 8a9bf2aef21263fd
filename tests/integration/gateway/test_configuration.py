"""Envoy accepts the generated configuration for every kind of settings, and the edge is configured as an edge."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import ValidationError

from gateway.bootstrap import as_json, bootstrap
from gateway.clusters import native_cluster_name, streams_cluster_name
from gateway.command_line import envoy_binary
from gateway.launch import UnfitConfiguration, check_with_envoy, write_configuration
from gateway.routes import load_descriptors
from gateway.settings import GatewaySettings
from gateway.static_pages import load_pages
from suite import NAMES

VARIETIES: dict[str, dict[str, Any]] = {
    "as it comes": {},
    "production": {"vyris_env": "production", "gateway_listen_host": "0.0.0.0", "gateway_concurrency": 4},  # noqa: S104
    "statistics": {"gateway_metrics_port": 9902},
    "names": {f"{name}_address": f"{name}.vyris.svc.cluster.local:50051" for name in NAMES},
    "lists": {"mint_address": "10.0.0.1:1,10.0.0.2:1,[2001:db8::1]:1"},
    "limits": {"gateway_rate_limit_rps": 5, "gateway_trusted_hops": 1},
    "pages of others": {"gateway_cors_origins": ("https://a.example",)},
    "traces": {"otel_exporter_otlp_endpoint": "http://otel:4317", "gateway_trace_percent": 1},
    "no access log": {"gateway_access_log_path": "-"},
}


def _settings(**values: Any) -> GatewaySettings:
    return GatewaySettings(_env_file=None, **values)


def _generate(**values: Any) -> Any:
    return json.loads(as_json(bootstrap(_settings(**values), load_descriptors())))


@pytest.mark.parametrize("name", VARIETIES)
def test_envoy_accepts_the_configuration(name: str, tmp_path: Path) -> None:
    write_configuration(_settings(**VARIETIES[name]), tmp_path / "envoy.json")
    check_with_envoy(tmp_path / "envoy.json")


def test_envoy_accepts_certificates(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "gateway")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    now, day = datetime.now(UTC), timedelta(days=1)
    certificate = builder.not_valid_before(now - day).not_valid_after(now + day).sign(key, hashes.SHA256())
    cert, secret = tmp_path / "c.pem", tmp_path / "k.pem"
    cert.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8
    secret.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    files = {"tls_cert_file": cert, "tls_key_file": secret, "upstream_ca_file": cert}
    files |= {"upstream_cert_file": cert, "upstream_key_file": secret}
    settings = _settings(**{f"gateway_{field}": path for field, path in files.items()})
    write_configuration(settings, tmp_path / "out" / "envoy.json")
    check_with_envoy(tmp_path / "out" / "envoy.json")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "envoy.json",
        "listener_certificate.json",
        "upstream_authority.json",
        "upstream_certificate.json",
    }


def test_a_configuration_that_envoy_refuses_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "envoy.json"
    path.write_text('{"static_resources": {"clusters": [{"name": "x", "type": "NONSENSE"}]}}')
    with pytest.raises(UnfitConfiguration, match="NONSENSE"):
        check_with_envoy(path)


def test_no_deprecated_or_unfinished_option_is_used(tmp_path: Path) -> None:
    path = tmp_path / "envoy.json"
    everything = {key: value for variety in VARIETIES.values() for key, value in variety.items()}
    everything |= {"gateway_access_log_path": "/dev/null", "gateway_access_log": "sampled"}
    write_configuration(_settings(**everything), path)
    command = [envoy_binary(), "--mode", "validate", "--config-path", str(path)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    complaints = [line for line in result.stderr.splitlines() if "[warning]" in line or "[error]" in line]
    assert complaints == []


def _managers(configuration: Any) -> dict[str, Any]:
    return {
        listener["name"]: listener["filter_chains"][0]["filters"][-1]["typed_config"]
        for listener in configuration["static_resources"]["listeners"]
    }


def test_filters_are_in_their_order() -> None:
    manager = _managers(_generate(gateway_rate_limit_rps=1, gateway_cors_origins=("https://a.example",)))["json"]
    names = [entry["name"].removeprefix("envoy.filters.http.") for entry in manager["http_filters"]]
    assert names == ["header_mutation", "lua", "local_ratelimit", "buffer", "grpc_json_transcoder", "router"]


def test_thousands_of_new_connections_leave_room_for_the_open_ones() -> None:
    listeners = {entry["name"]: entry for entry in _generate()["static_resources"]["listeners"]}
    for door in ("json", "grpc"):
        assert listeners[door]["max_connections_to_accept_per_socket_event"] <= 8


@pytest.mark.parametrize("door", ["json", "grpc"])
def test_both_doors_are_set_as_an_edge(door: str) -> None:
    manager = _managers(_generate())[door]
    assert manager["use_remote_address"] is True
    assert manager["normalize_path"] is True
    assert manager["merge_slashes"] is True
    assert manager["path_with_escaped_slashes_action"] == "REJECT_REQUEST"
    assert manager["common_http_protocol_options"]["headers_with_underscores_action"] == "REJECT_REQUEST"
    assert manager["always_set_request_id_in_response"] is True
    assert float(manager["request_headers_timeout"].removesuffix("s")) > 0
    assert float(manager["stream_idle_timeout"].removesuffix("s")) > 0


def test_only_what_cannot_have_begun_is_sent_again() -> None:
    for name, manager in _managers(_generate()).items():
        for host in manager["route_config"]["virtual_hosts"]:
            assert host["retry_policy"]["retry_on"] == "connect-failure,refused-stream,reset-before-request", name
            assert not [route for route in host["routes"] if "retry_policy" in route.get("route", {})]


def test_clusters_look_again_every_second_and_cannot_be_emptied() -> None:
    clusters = {cluster["name"]: cluster for cluster in _generate()["static_resources"]["clusters"]}
    assert set(clusters) == {*NAMES, *map(native_cluster_name, NAMES), *map(streams_cluster_name, NAMES)}
    for name, cluster in clusters.items():
        (check,) = cluster["health_checks"]
        assert {check[key] for key in check if key.endswith("interval")} == {"1s"}
        assert check["grpc_health_check"]["service_name"].startswith(f"vyris.{name.partition('_')[0]}.v1.")
        assert cluster["outlier_detection"]["max_ejection_percent"] <= 50
        assert cluster["outlier_detection"]["always_eject_one_host"] is False
        assert "retry_budget" in cluster["circuit_breakers"]["thresholds"][0]


def _values_of(key: str, node: Any) -> list[Any]:
    """Every value of `key` at any depth."""
    if isinstance(node, dict):
        own = [node[key]] if key in node else []
        return own + [value for child in node.values() for value in _values_of(key, child)]
    return [value for child in node for value in _values_of(key, child)] if isinstance(node, list) else []


def test_every_runtime_key_is_known_to_take_effect() -> None:
    """Envoy ignores runtime keys that it does not know.

    Two are its own: `tests/integration/gateway/test_bounds.py` sees that they bound the connections of each door. The
    others are names that a message asks for, beside the values in force.
    """
    everything = {key: value for variety in VARIETIES.values() for key, value in variety.items()}
    everything |= {"gateway_access_log_path": "/dev/null", "gateway_access_log": "sampled"}
    configuration = _generate(**everything)
    [layer] = configuration["layered_runtime"]["layers"]
    assert set(layer["static_layer"]) == {
        "envoy.resource_limits.listener.json.connection_limit",
        "envoy.resource_limits.listener.grpc.connection_limit",
    }
    assert set(_values_of("runtime_key", configuration)) == {
        "vyris.access_log.shed",
        "vyris.access_log.failures",
        "vyris.access_log.sample",
        "vyris.local_replies.unchanged",
    }
    assert {value["default_value"] for value in _values_of("value", configuration) if isinstance(value, dict)
            and "runtime_key" in value} == {503, 500, 399}  # fmt: skip


def test_no_comment_of_the_protos_is_carried_along() -> None:
    assert all(not file.HasField("source_code_info") for file in load_descriptors().file)


def test_in_production_there_is_no_reflection() -> None:
    def paths(**values: Any) -> str:
        return json.dumps(_managers(_generate(**values))["grpc"]["route_config"])

    assert "grpc.reflection" in paths()
    assert "grpc.reflection" not in paths(vyris_env="production")


def test_a_page_that_is_too_large_or_unknown_is_refused(tmp_path: Path) -> None:
    entry = {"path": "/docs", "file": "docs.html", "content_type": "text/html"}
    (tmp_path / "pages.json").write_text(json.dumps({"pages": [entry]}))
    with pytest.raises(FileNotFoundError, match=r"docs\.html"):
        load_pages(tmp_path)
    (tmp_path / "docs.html").write_bytes(b"x" * (1 << 20) + b"x")
    with pytest.raises(ValueError, match="larger"):
        load_pages(tmp_path)
    (tmp_path / "pages.json").write_text(json.dumps({"pages": [entry | {"colour": "red"}]}))
    with pytest.raises(ValidationError, match="colour"):
        load_pages(tmp_path)


def _command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gateway", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={"PATH": "/usr/bin"} | environment)


def test_the_command_line_generates_and_validates(tmp_path: Path) -> None:
    output = tmp_path / "new" / "envoy.json"
    assert _command("generate", "--output", str(output), GATEWAY_PORT="4000").returncode == 0
    listeners = json.loads(output.read_text())["static_resources"]["listeners"]
    ports = {listener["address"]["socket_address"]["port_value"] for listener in listeners}
    assert ports == {4000, 3001}
    result = _command("validate")
    assert result.returncode == 0, result.stderr


def test_the_command_line_names_a_wrong_setting(tmp_path: Path) -> None:
    result = _command("validate", GATEWAY_PORT="http")
    assert result.returncode == 78
    assert "GATEWAY_PORT" in result.stderr
    assert "Traceback" not in result.stderr
