"""nginx and HAProxy with the configurations of `docs/operations.md`."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.neighbours.documented import documented, with_replacements
from tests.ports import free_port

NAMES: Final = ("nginx", "haproxy")
START_LIMIT_S: Final = 10.0
in_full = pytest.mark.skipif(
    os.environ.get("VYRIS_NEIGHBOURS") != "required", reason="takes seconds: a part of `make test-neighbours`"
)
# What a configuration needs around the block of the document to run beside others, in one folder.
NGINX: Final = """\
{user}
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
worker_processes 1;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{block}
}}
"""
NGINX_TLS: Final = """\
    listen 443 ssl http2;
    ssl_certificate /etc/vyris/tls.crt;
    ssl_certificate_key /etc/vyris/tls.key;
"""
HAPROXY_TLS: Final = "bind :443 ssl crt /etc/vyris/tls.pem alpn h2,http/1.1"


@dataclass(frozen=True)
class Doors:
    """Where the gateway listens."""

    json_port: int
    grpc_port: int


@dataclass(frozen=True)
class Certificate:
    """PEM files of the balancer."""

    chain: Path
    key: Path


def program(name: str) -> str:
    """The path of an installed program. Skips the test if there is none, or fails it where neighbours are required."""
    path = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if path is None and os.environ.get("VYRIS_NEIGHBOURS") != "required":
        pytest.skip(f"{name} is not installed (`apt-get install {name}`)")
    assert path is not None, f"{name} is not installed"
    return path


def nginx_configuration(folder: Path, gateway: Doors, listen: str, changes: Mapping[str, str] | None = None) -> str:
    """The whole configuration of nginx. `listen` replaces the document's address and certificate."""
    block = with_replacements(documented("nginx"), {NGINX_TLS: listen, **_gateways(gateway), **(changes or {})})
    return NGINX.format(user="user root;" if os.geteuid() == 0 else "", folder=folder, block=block)


def haproxy_configuration(gateway: Doors, listen: str, changes: Mapping[str, str] | None = None) -> str:
    """The whole configuration of HAProxy. `listen` replaces the document's address and certificate."""
    return with_replacements(documented("haproxy"), {HAPROXY_TLS: listen, **_gateways(gateway), **(changes or {})})


def _gateways(gateway: Doors) -> dict[str, str]:
    ports = {"3000": gateway.json_port, "3001": gateway.grpc_port}
    return {f"gateway-{n}:{port}": f"127.0.0.1:{ports[port]}" for n in (1, 2) for port in ports}


@contextlib.contextmanager
def plain_balancer(name: str, folder: Path, gateway: Doors, own: Doors) -> Iterator[None]:
    """Run a balancer without TLS. HTTP/1.1 and HTTP/2 have a port each, because only TLS can negotiate the version."""
    path = program(name)
    if name == "nginx":
        listen = f"listen 127.0.0.1:{own.json_port};\nlisten 127.0.0.1:{own.grpc_port} http2;\n"
        text = nginx_configuration(folder, gateway, listen)
    else:
        listen = f"bind 127.0.0.1:{own.json_port}\n    bind 127.0.0.1:{own.grpc_port} proto h2"
        text = haproxy_configuration(gateway, listen)
    with _running(name, path, folder, text, [own.json_port, own.grpc_port]):
        yield


@contextlib.contextmanager
def tls_balancer(
    name: str, folder: Path, gateway: Doors, certificate: Certificate, changes: Mapping[str, str] | None = None
) -> Iterator[int]:
    """Run a balancer that ends TLS. Yields its port, which serves JSON and gRPC, over HTTP/1.1 and HTTP/2."""
    path, port = program(name), free_port()
    if name == "nginx":
        listen = NGINX_TLS.replace("443", f"127.0.0.1:{port}")
        listen = listen.replace("/etc/vyris/tls.crt", str(certificate.chain))
        listen = listen.replace("/etc/vyris/tls.key", str(certificate.key))
        text = nginx_configuration(folder, gateway, listen, changes)
    else:
        both = folder / "tls.pem"
        both.write_bytes(certificate.chain.read_bytes() + certificate.key.read_bytes())
        listen = HAPROXY_TLS.replace(":443", f"127.0.0.1:{port}").replace("/etc/vyris/tls.pem", str(both))
        text = haproxy_configuration(gateway, listen, changes)
    with _running(name, path, folder, text, [port]):
        yield port


@contextlib.contextmanager
def tcp_balancer(folder: Path, gateway: Doors) -> Iterator[Doors]:
    """Run HAProxy so that it passes connections on, with the PROXY protocol."""
    path, own = program("haproxy"), Doors(free_port(), free_port())
    listens = {"bind :443": f"bind 127.0.0.1:{own.json_port}", "bind :8443": f"bind 127.0.0.1:{own.grpc_port}"}
    text = with_replacements(documented("haproxy-tcp"), listens | _gateways(gateway))
    with _running("haproxy", path, folder, text, [own.json_port, own.grpc_port]):
        yield own


@contextlib.contextmanager
def _running(name: str, path: str, folder: Path, text: str, ports: Sequence[int]) -> Iterator[None]:
    configuration = folder / f"{name}.conf"
    configuration.write_text(text, encoding="utf-8")
    arguments = ["-c", str(configuration)] if name == "nginx" else ["-f", str(configuration), "-db"]
    log = folder / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen([path, *arguments], stdout=output, stderr=output)
    try:
        _wait_until_listening(name, process, log, ports)
        yield
    finally:
        process.terminate()
        process.wait(timeout=10)


def _wait_until_listening(name: str, process: subprocess.Popen[bytes], log: Path, ports: Sequence[int]) -> None:
    until = time.monotonic() + START_LIMIT_S
    waiting = list(ports)
    while waiting:
        if process.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"{name} does not listen: {log.read_text()}")
        try:
            socket.create_connection(("127.0.0.1", waiting[0]), timeout=1).close()
            waiting.pop(0)
        except OSError:
            time.sleep(0.02)
