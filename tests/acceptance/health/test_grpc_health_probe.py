"""Health as Kubernetes and its tools ask for it: alive, ready, draining, without Postgres; with TLS and without.

Uses the real `grpc_health_probe` if it is installed, or else the same protocol with grpcio.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from suite import NAMES
from tests.forked import Forked, fork_service
from tests.ports import free_port
from tests.shell import chosen_settings
from tests.stand_ins.authority import Authority
from vyris.encounter.v1 import encounter_pb2, encounter_pb2_grpc
from vyris.error_wire import from_rpc_error
from vyris.mint.v1 import mint_pb2, mint_pb2_grpc
from vyris.reforge.v1 import reforge_pb2, reforge_pb2_grpc
from vyris.wallet.v1 import wallet_pb2, wallet_pb2_grpc

NOWHERE = "postgresql://nobody@127.0.0.1:1/none"
PROBE = shutil.which("grpc_health_probe") or shutil.which("grpc-health-probe")
SERVING, UNREACHABLE, NOT_SERVING = 0, 2, 4  # the probe's exit statuses


@dataclass(frozen=True)
class Trust:
    """What a caller needs to call a service."""

    ca: Path
    cert: Path
    key: Path


@dataclass
class Running:
    """A service's process."""

    service: str
    port: int
    health_port: int
    process: Forked
    trust: Trust | None

    @property
    def full_name(self) -> str:
        return f"vyris.{self.service}.v1.{self.service.capitalize()}Service"

    def probe(self, name: str, *, port: int | None = None) -> int:
        """The exit status of a probe for a service name ("": alive)."""
        trust = self.trust if port is None else None
        address = f"127.0.0.1:{port or self.port}"
        return (
            _by_binary(address, name, self.service, trust) if PROBE else _by_grpcio(address, name, self.service, trust)
        )

    def becomes(self, name: str, status: int, limit_s: float = 40) -> bool:
        until_s = time.monotonic() + limit_s
        while time.monotonic() < until_s:
            if self.probe(name) == status:
                return True
            time.sleep(0.2)
        return False


def _by_binary(address: str, name: str, server_name: str, trust: Trust | None) -> int:
    assert PROBE
    command = [PROBE, "-addr", address, "-service", name, "-connect-timeout", "2s", "-rpc-timeout", "5s"]
    if trust is not None:
        command += ["-tls", "-tls-ca-cert", str(trust.ca), "-tls-server-name", server_name]
        command += ["-tls-client-cert", str(trust.cert), "-tls-client-key", str(trust.key)]
    return subprocess.run(command, capture_output=True, check=False, timeout=30).returncode


def _by_grpcio(address: str, name: str, server_name: str, trust: Trust | None) -> int:
    if trust is None:
        channel = grpc.insecure_channel(address)
    else:
        credentials = grpc.ssl_channel_credentials(
            trust.ca.read_bytes(), trust.key.read_bytes(), trust.cert.read_bytes()
        )
        channel = grpc.secure_channel(address, credentials, [("grpc.ssl_target_name_override", server_name)])
    with channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=name), timeout=5)
        except grpc.RpcError:
            return UNREACHABLE
    return SERVING if answer.status == health_pb2.HealthCheckResponse.SERVING else NOT_SERVING


@contextmanager
def running(
    service: str, database_url: str, redis_url: str, folder: Path, trust: Trust | None = None, **settings: str
) -> Iterator[Running]:
    port, health_port = free_port(), free_port()
    environment = {
        **chosen_settings(),
        "PATH": os.environ["PATH"],
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "VYRIS_STATE_DIR": str(folder / "state"),
        f"{service.upper()}_PORT": str(port),
        "HEALTH_PORT": str(health_port),
        **settings,
    }
    process = fork_service(service, environment, folder=folder, log=folder / f"{service}.log")
    try:
        yield Running(service, port, health_port, process, trust)
    finally:
        process.kill()


def test_a_process_serves_and_then_drains(database_url: str, redis_url: str, tmp_path: Path) -> None:
    with ExitStack() as started:
        processes = [
            started.enter_context(running(service, database_url, redis_url, tmp_path, DRAIN_DELAY_MS="5000"))
            for service in NAMES
        ]
        for process in processes:
            assert process.becomes(process.full_name, SERVING)
            assert process.probe("") == SERVING
            assert process.probe(process.full_name, port=process.health_port) == SERVING
            assert process.probe("vyris.nobody.v1.NobodyService") not in {SERVING, NOT_SERVING}
        for process in processes:
            process.process.terminate()
        for process in processes:
            # While it drains it is not ready, but it is alive, so that nobody kills it.
            assert process.becomes(process.full_name, NOT_SERVING, limit_s=4)
            assert process.probe("") == SERVING
        for process in processes:
            assert process.process.wait(40) == 0
            assert process.probe("") == UNREACHABLE


@pytest.mark.parametrize("service", NAMES)
def test_a_process_without_postgres_is_alive_but_cannot_serve(service: str, tmp_path: Path) -> None:
    with running(service, NOWHERE, "redis://127.0.0.1:1", tmp_path) as process:
        assert process.becomes("", SERVING)
        assert process.becomes(process.full_name, NOT_SERVING)
        assert process.probe("") == SERVING


@pytest.mark.parametrize("setting", ["MINT_PORT", "HEALTH_PORT"])
def test_a_taken_port_ends_the_process_at_once_with_one_sentence(setting: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with running("mint", NOWHERE, "redis://127.0.0.1:1", tmp_path, **{setting: port}) as process:
            assert process.process.wait(20) == 69
    log = (tmp_path / "mint.log").read_text()
    assert f"mint cannot listen on 127.0.0.1:{port}" in log
    assert "Traceback" not in log


@pytest.mark.parametrize("service", ["mint", "wallet"])
def test_the_probe_works_over_mutual_tls(service: str, database_url: str, redis_url: str, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    cert, key = authority.issue(service, service)
    trust = Trust(authority.ca_file, *authority.issue("gateway", "gateway"))
    settings = {
        "SERVER_TLS_CERT_FILE": str(cert),
        "SERVER_TLS_KEY_FILE": str(key),
        "SERVER_TLS_CLIENT_CA_FILE": str(authority.ca_file),
    }
    with running(service, database_url, redis_url, tmp_path, trust, **settings) as process:
        assert process.becomes(process.full_name, SERVING)
        # Plain text and a stranger's certificate are refused; the port for probes needs no certificate.
        process.trust = None
        assert process.probe("") == UNREACHABLE
        stranger = tmp_path / "stranger"
        stranger.mkdir()
        process.trust = Trust(authority.ca_file, *Authority(stranger).issue("gateway", "gateway"))
        assert process.probe("") == UNREACHABLE
        assert process.probe(process.full_name, port=process.health_port) == SERVING
        # A renewed certificate is served without a restart.
        process.trust = trust
        before = _read_served_serial(process, trust)
        authority.issue(service, service)
        assert process.probe(process.full_name) == SERVING
        assert _read_served_serial(process, trust) != before


CALLS = {
    "mint": (mint_pb2_grpc.MintServiceStub, "GetDrop", mint_pb2.GetDropRequest(tier="nowhere", year="2031")),
    "wallet": (wallet_pb2_grpc.WalletServiceStub, "IssuePass", wallet_pb2.IssuePassRequest()),
    "encounter": (encounter_pb2_grpc.EncounterServiceStub, "VerifyEncounter", encounter_pb2.VerifyEncounterRequest()),
    "reforge": (reforge_pb2_grpc.ReforgeServiceStub, "ConfirmReforge", reforge_pb2.ConfirmReforgeRequest()),
}
CLIENT_NAMES = "gateway, spiffe://club.example/gateway"


def _answer(process: Running, trust: Trust, method: str = "") -> str:
    """The contract's error of a call with that certificate."""
    stub, unary, request = CALLS[process.service]
    credentials = grpc.ssl_channel_credentials(*(path.read_bytes() for path in (trust.ca, trust.key, trust.cert)))
    options = [("grpc.ssl_target_name_override", process.service)]
    with grpc.secure_channel(f"127.0.0.1:{process.port}", credentials, options) as channel:
        try:
            answer = getattr(stub(channel), method or unary)(request, timeout=10)
            list(answer if method else ())
        except grpc.RpcError as error:
            refusal = from_rpc_error(error.code(), error.details() or "", tuple(error.trailing_metadata() or ()))
            return f"{refusal.reason if refusal else ''} {error.code().name}"
    return "OK"


@pytest.mark.parametrize("service", NAMES)
def test_certificates_outside_the_client_names_may_only_ask_for_health(
    service: str, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    cert, key = authority.issue(service, service)
    allowed = [("gateway",), ("Gateway",), ("other", "gateway"), ("spiffe://club.example/gateway",)]
    others = [("mint",), ("gateway.evil",), ("*.gateway",), ("spiffe://club.example/Gateway",), ("spiffe://x/gateway",)]
    trusts = {
        names: Trust(authority.ca_file, *authority.issue(f"client-{number}", *names))
        for number, names in enumerate([*allowed, *others])
    }
    settings = {
        "SERVER_TLS_CERT_FILE": str(cert),
        "SERVER_TLS_KEY_FILE": str(key),
        "SERVER_TLS_CLIENT_CA_FILE": str(authority.ca_file),
        "SERVER_TLS_CLIENT_NAMES": CLIENT_NAMES,
    }
    with running(service, database_url, redis_url, tmp_path, trusts["mint",], **settings) as process:
        assert process.becomes(process.full_name, SERVING)
        assert process.probe("", port=process.health_port) == SERVING
        for names in others:
            assert _answer(process, trusts[names]) == "UNAUTHORIZED UNAUTHENTICATED", names
        for names in allowed:
            assert _answer(process, trusts[names]) not in {"UNAUTHORIZED UNAUTHENTICATED", "OK"}, names
        if service == "mint":
            assert _answer(process, trusts["mint",], "WatchDrop") == "UNAUTHORIZED UNAUTHENTICATED"
            assert _answer(process, trusts["gateway",], "WatchDrop") == "NOT_FOUND NOT_FOUND"


def _read_served_serial(process: Running, trust: Trust) -> int:
    """The serial number of the certificate that a new connection gets."""
    import ssl

    from cryptography import x509

    context = ssl.create_default_context(cafile=str(trust.ca))
    context.load_cert_chain(trust.cert, trust.key)
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection(("127.0.0.1", process.port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=process.service) as secure,
    ):
        shown = secure.getpeercert(binary_form=True)
    assert shown
    return x509.load_der_x509_certificate(shown).serial_number


@pytest.mark.parametrize(
    "settings",
    [
        {"SERVER_TLS_CERT_FILE": "/nowhere.pem"},
        {"SERVER_TLS_CERT_FILE": "/nowhere.pem", "SERVER_TLS_KEY_FILE": "/nowhere.key"},
        {"SERVER_TLS_CLIENT_CA_FILE": "/nowhere.pem"},
        {"SERVER_TLS_CLIENT_NAMES": "gateway"},
    ],
)
def test_unusable_certificates_end_the_process(settings: dict[str, str], tmp_path: Path) -> None:
    with running("wallet", NOWHERE, "redis://127.0.0.1:1", tmp_path, **settings) as process:
        assert process.process.wait(60) == 78
    assert "Traceback" not in (tmp_path / "wallet.log").read_text()
