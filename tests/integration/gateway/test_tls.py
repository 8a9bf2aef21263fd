"""TLS to callers and mutual TLS to the services, with certificates that are replaced while the gateway runs."""

from __future__ import annotations

import asyncio
import os
import ssl
import subprocess
import sys
from pathlib import Path

import grpc
import httpx
import pytest
from cryptography import x509

from tests.integration.gateway.contract import assert_error
from tests.integration.gateway.peers import make_settings, running_gateway, running_services
from tests.stand_ins.authority import Authority
from vyris.mint.v1 import mint_pb2, mint_pb2_grpc


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def _server_credentials(authority: Authority, *names: str) -> grpc.ServerCredentials:
    cert, key = authority.issue("service", *names)
    pair = (key.read_bytes(), cert.read_bytes())
    return grpc.ssl_server_credentials([pair], authority.ca_file.read_bytes(), require_client_auth=True)


async def test_callers_reach_both_doors_over_tls(authority: Authority, tmp_path: Path) -> None:
    cert, key = authority.issue("gateway", "localhost")
    async with running_services() as services:
        settings = make_settings(tmp_path, services, gateway_tls_cert_file=cert, gateway_tls_key_file=key)
        context = ssl.create_default_context(cafile=str(authority.ca_file))
        async with running_gateway(tmp_path, settings) as gateway:
            async with httpx.AsyncClient(base_url=gateway.url, verify=context, http2=True) as client:
                answer = await client.post("/mint", json={})
                assert (answer.status_code, answer.http_version) == (201, "HTTP/2")
                assert answer.headers["strict-transport-security"] == "max-age=31536000"
            async with httpx.AsyncClient() as plain:
                with pytest.raises(httpx.HTTPError):
                    await plain.get(f"http://127.0.0.1:{settings.gateway_port}/health")
            credentials = grpc.ssl_channel_credentials(authority.ca_file.read_bytes())
            async with grpc.aio.secure_channel(gateway.grpc_target, credentials) as channel:
                minted = await mint_pb2_grpc.MintServiceStub(channel).Mint(mint_pb2.MintRequest())
                assert minted.status == "FULFILLED"


async def test_a_renewed_certificate_is_served_without_a_restart(authority: Authority, tmp_path: Path) -> None:
    cert, key = authority.issue("gateway", "localhost")

    async def read_served_serial(port: int) -> int:
        pem = await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", port))
        return x509.load_pem_x509_certificate(pem.encode()).serial_number

    async with running_services() as services:
        settings = make_settings(tmp_path, services, gateway_tls_cert_file=cert, gateway_tls_key_file=key)
        async with running_gateway(tmp_path, settings):
            before = await read_served_serial(settings.gateway_port)
            authority.issue("gateway", "localhost")
            for _ in range(50):
                if (after := await read_served_serial(settings.gateway_port)) != before:
                    break
                await asyncio.sleep(0.1)
            assert after != before


async def test_gateway_and_services_know_each_other(authority: Authority, tmp_path: Path) -> None:
    cert, key = authority.issue("gateway-client", "gateway")
    credentials = _server_credentials(authority, "mint", "encounter", "wallet", "reforge")
    async with running_services(credentials=credentials) as services:
        trust = {"gateway_upstream_ca_file": authority.ca_file}
        own = {"gateway_upstream_cert_file": cert, "gateway_upstream_key_file": key}
        settings = make_settings(tmp_path, services, **trust, **own)
        async with running_gateway(tmp_path, settings) as gateway, httpx.AsyncClient(base_url=gateway.url) as client:
            assert (await client.post("/mint", json={})).status_code == 201
        # Without a certificate of its own the gateway is refused.
        anonymous = make_settings(tmp_path, services, **trust)
        async with (
            running_gateway(tmp_path, anonymous, wait_for=()) as gateway,
            httpx.AsyncClient(base_url=gateway.url) as client,
        ):
            assert_error(await client.post("/mint", json={}), 503, "RETRYABLE", retryable=True)


async def test_an_authority_that_is_replaced_is_trusted_without_a_restart(tmp_path: Path) -> None:
    for folder in ("old", "new", "trusted"):
        (tmp_path / folder).mkdir()
    old, new = Authority(tmp_path / "old"), Authority(tmp_path / "new")
    trusted = tmp_path / "trusted" / "ca.pem"
    trusted.write_bytes(old.ca_file.read_bytes())
    cert, key = new.issue("gateway-client", "gateway")
    async with running_services(credentials=_server_credentials(new, "mint", "wallet")) as services:
        settings = make_settings(
            tmp_path,
            services,
            gateway_upstream_ca_file=trusted,
            gateway_upstream_cert_file=cert,
            gateway_upstream_key_file=key,
        )
        async with (
            running_gateway(tmp_path, settings, wait_for=()) as gateway,
            httpx.AsyncClient(base_url=gateway.url) as client,
        ):
            assert (await client.post("/mint", json={})).status_code == 503
            renewed = trusted.with_name("renewed.pem")
            renewed.write_bytes(new.ca_file.read_bytes())
            renewed.replace(trusted)
            for _ in range(100):
                if (status := (await client.post("/mint", json={})).status_code) == 201:
                    break
                await asyncio.sleep(0.1)
            assert status == 201


@pytest.mark.parametrize("wrong", ["a key of another certificate", "a file that is not there", "no certificate"])
def test_certificates_that_cannot_be_served_end_it_with_a_sentence(
    authority: Authority, tmp_path: Path, wrong: str
) -> None:
    cert, key = authority.issue("gateway", "localhost")
    _, others_key = authority.issue("other", "localhost")
    environment = {
        "a key of another certificate": {"GATEWAY_TLS_CERT_FILE": cert, "GATEWAY_TLS_KEY_FILE": others_key},
        "a file that is not there": {"GATEWAY_TLS_CERT_FILE": tmp_path / "none.pem", "GATEWAY_TLS_KEY_FILE": key},
        "no certificate": {"GATEWAY_UPSTREAM_CA_FILE": key},
    }[wrong]
    ended = subprocess.run(
        [sys.executable, "-m", "gateway", "run", "--output", str(tmp_path / "envoy.json")],
        env=os.environ | {name: str(path) for name, path in environment.items()},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert ended.returncode == 78
    assert f"{next(iter(environment))} " in ended.stderr
    assert "Traceback" not in ended.stderr


async def test_a_service_under_another_name_is_not_trusted(authority: Authority, tmp_path: Path) -> None:
    cert, key = authority.issue("gateway-client", "gateway")
    async with running_services(credentials=_server_credentials(authority, "wallet")) as services:
        settings = make_settings(
            tmp_path,
            services,
            gateway_upstream_ca_file=authority.ca_file,
            gateway_upstream_cert_file=cert,
            gateway_upstream_key_file=key,
        )
        async with (
            running_gateway(tmp_path, settings, wait_for=("wallet",)) as gateway,
            httpx.AsyncClient(base_url=gateway.url) as client,
        ):
            assert (await client.post("/issue-pass", json={})).status_code == 200
            answer = await client.post("/mint", json={})
            assert_error(answer, 503, "RETRYABLE", retryable=True)
            assert "certificate" not in answer.text.lower()
