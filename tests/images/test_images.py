"""The images as production runs them: no rights, a read-only root, little memory, a drain on SIGTERM."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import grpc
import httpx
import psutil
import pytest
from packaging.utils import canonicalize_name

from deploy.bill_of_materials import bill
from stack.local import Stack
from stack.probes import answers_http, serves_grpc
from suite import NAMES, SUITE
from tests.deploy.manifests import REPOSITORY, pods, tool
from tests.images.containers import GATEWAY, PODMAN, RUN, SERVICES, USER, Containers, mounted, podman
from tests.ports import free_port
from vyris.mint.v1 import mint_pb2, mint_pb2_grpc

PROCESSES = (*NAMES, "gateway")
# What an image adds to its base, in MB of 10^6 bytes. Envoy alone has 107, grpcio 17.
ADDED_LIMIT_MB = {SERVICES: 120, GATEWAY: 160}
# As docs/operations.md and the pods' probes have it.
START_LIMIT_S = 60
GRACE_S = 20
both = pytest.mark.parametrize("image", [SERVICES, GATEWAY])


def test_a_process_has_no_rights_and_a_root_that_it_cannot_write(containers: Containers) -> None:
    for name in PROCESSES:
        status = Path(f"/proc/{containers.pid(name)}/status").read_text()
        facts = dict(re.findall(r"^(\w+):\t(.*)$", status, re.MULTILINE))
        assert set(facts["Uid"].split()) == {str(USER)}, name
        assert {int(facts[kind], 16) for kind in ("CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}, name
        assert facts["NoNewPrivs"] == "1"
        for place in ("/app/new", "/opt/venv/new", "/etc/new"):
            write = f"open({place!r}, 'w')"
            done = subprocess.run(
                [*PODMAN, "exec", "--user", "0", containers.name(name), "python", "-c", write],
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert "Read-only file system" in done.stderr, name


def test_start_time_and_memory_are_within_what_a_pod_gets(
    stack: Stack, containers: Containers, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(50):
        body = {"receipt_data": f"receipt-{uuid.uuid4()}", "user_id": "ada"}
        assert httpx.post(f"{stack.gateway_url}/mint", json=body).status_code == 201
    requested = {
        name: int(pod["containers"][0]["resources"]["requests"]["memory"].removesuffix("Mi"))
        for name, pod in pods("prod")
    }
    for name in PROCESSES:
        process = psutil.Process(containers.pid(name))
        used = sum(each.memory_full_info().uss for each in (process, *process.children(recursive=True))) / 2**20
        with capsys.disabled():
            print(f"\n{name}: ready after {containers.start_s[name]:.1f} s, {used:.0f} MiB", end="")
        assert used < requested[name]
        assert containers.start_s[name] < START_LIMIT_S


@both
def test_an_image_adds_little_to_its_base(image: str, capsys: pytest.CaptureFixture[str]) -> None:
    with mounted(image) as root:
        files = [path for place in ("opt/venv", "app") for path in (root / place).rglob("*") if path.is_file()]
        added_mb = sum(path.lstat().st_size for path in files) / 1e6
    with capsys.disabled():
        print(f"\n{image} adds {added_mb:.0f} MB", end="")
    assert added_mb < ADDED_LIMIT_MB[image]


@both
def test_an_image_has_the_python_that_the_tests_run_with(image: str) -> None:
    program = "import sys; print(*sys.version_info[:2], sep='.')"
    version = podman(*RUN, "--entrypoint", "python", image, "-c", program)
    assert version == f"{sys.version_info.major}.{sys.version_info.minor}"


@both
def test_the_bill_of_materials_has_every_package(image: str) -> None:
    with mounted(image) as root:
        parts = json.loads(bill(root))["components"]
    python = {part["name"]: part["version"] for part in parts if part["purl"].startswith("pkg:pypi/")}
    locked = {SERVICES: "requirements.txt", GATEWAY: "deploy/images/gateway-requirements.txt"}[image]
    pinned = dict(re.findall(r"^([a-z0-9.-]+)(?:\[[a-z,]+\])?==(\S+)", (REPOSITORY / locked).read_text(), re.MULTILINE))
    assert {canonicalize_name(name): version for name, version in python.items()} == pinned
    assert {"libc6", "ca-certificates"} <= {part["name"] for part in parts if part["purl"].startswith("pkg:deb/")}


@both
def test_no_package_in_an_image_has_a_known_hole(image: str) -> None:
    """Judge what is installed, not what is locked. A package that the database does not know is not sound."""
    with mounted(image) as root:
        (packages,) = (root / "opt" / "venv" / "lib").glob("python3.*/site-packages")
        command = [tool("pip-audit"), "--path", str(packages), "--format", "json", "--progress-spinner", "off"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    judged = json.loads(done.stdout)["dependencies"] if done.stdout else []
    unknown = [package["name"] for package in judged if "skip_reason" in package]
    if len(unknown) == len(judged):
        pytest.skip(f"the database of known holes does not answer: {done.stderr[-200:]}")
    assert not unknown
    assert [package for package in judged if package["vulns"]] == []


@both
def test_no_package_of_debian_in_an_image_lacks_a_fix(image: str) -> None:
    """An old base fails here: build on a newer one."""
    asked = (*RUN, "--user", "0", "--entrypoint", "sh", image, "-c")
    try:
        planned = podman(*asked, "apt-get -qq --error-on=any update && apt-get -qq -s upgrade")
    except subprocess.CalledProcessError as failure:
        pytest.skip(f"Debian's list of packages does not answer: {failure.stderr[-200:]}")
    assert not re.findall(r"^Inst .*", planned, re.MULTILINE)


def test_mint_drains_on_sigterm(containers: Containers) -> None:
    """Within the delay of a drain calls are answered; then the process ends by itself, with 0."""
    port = free_port()
    settings = {"MINT_PORT": str(port), "METRICS_PORT": "0", "DRAIN_DELAY_MS": "2000"}
    process = subprocess.Popen(containers.command("mint", settings, name="drained-mint"))
    service = next(service for service in SUITE if service.name == "mint")
    _wait(lambda: serves_grpc(port, service.full_name))
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        mint = mint_pb2_grpc.MintServiceStub(channel)
        process.terminate()
        _wait(lambda: not serves_grpc(port, service.full_name))
        answer = mint.Mint(mint_pb2.MintRequest(receipt_data=f"receipt-{uuid.uuid4()}", user_id="ada"), timeout=5)
    assert answer.membership.id
    assert process.wait(GRACE_S) == 0


def test_the_gateway_drains_on_sigterm(containers: Containers) -> None:
    names = ("GATEWAY_PORT", "GATEWAY_GRPC_PORT", "ENVOY_ADMIN_PORT", "GATEWAY_METRICS_PORT")
    ports = {name: str(free_port()) for name in names}
    process = subprocess.Popen(containers.command("gateway", ports, name="drained-gateway"))
    port = int(ports["GATEWAY_PORT"])
    _wait(lambda: answers_http(port, "/health"))
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        assert client.get("/health").status_code == 200
        process.terminate()
        answer = client.post("/mint", json={"receipt_data": f"receipt-{uuid.uuid4()}", "user_id": "ada"})
    assert answer.status_code == 201
    assert process.wait(GRACE_S) == 0


def _wait(is_so: Callable[[], bool]) -> None:
    until_s = time.monotonic() + START_LIMIT_S
    while not is_so():
        assert time.monotonic() < until_s
        time.sleep(0.05)
