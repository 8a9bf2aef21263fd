"""The Kubernetes manifests are valid, restricted, and use known settings."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from cli.settings_reference import settings
from services.data.storage.settings import PostgresSettings
from services.server.runtime.settings import ServiceSettings
from stack.ports import PortTaker
from suite import NAMES, SUITE
from tests.deploy.manifests import (
    DEPLOY,
    OPERATORS_KINDS,
    OVERLAYS,
    built,
    manifests,
    pods,
    tool,
    variables,
)
from tests.forked import fork_service

everywhere = pytest.mark.parametrize("overlay", OVERLAYS)
# The oldest version that providers still run, and the newest.
VERSIONS = ("1.32", "1.34")


@everywhere
@pytest.mark.parametrize("version", VERSIONS)
def test_every_manifest_is_valid_to_the_letter(overlay: str, version: str, tmp_path: Path) -> None:
    ours = [item for item in manifests(overlay) if item["kind"] not in OPERATORS_KINDS]
    file = tmp_path / f"{overlay}.yaml"
    file.write_text(yaml.safe_dump_all(ours))
    done = subprocess.run(
        [tool("kubernetes-validate"), "--strict", "-k", version, str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("passed for resource") == len(ours)


@everywhere
def test_every_variable_is_a_known_setting(overlay: str) -> None:
    known = {setting.name for setting in settings()}
    for name, pod in pods(overlay):
        for container in pod["containers"]:
            assert set(variables(overlay, container)) <= known, name


def test_compose_uses_known_settings_alone() -> None:
    known = {setting.name for setting in settings()}
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    ours = {name: part for name, part in compose["services"].items() if part.get("image", "").startswith("vyris-")}
    assert {*NAMES, "gateway", "migrate", "create-drop"} == set(ours)
    for name, part in ours.items():
        assert set(part.get("environment", {})) <= known, name
        assert part["read_only"] is True
        assert part["cap_drop"] == ["ALL"]


@everywhere
def test_pods_fit_the_restricted_profile(overlay: str) -> None:
    """Pod Security Standards, `restricted`, and more: a read-only root, limits, no API token."""
    for name, pod in pods(overlay):
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["enableServiceLinks"] is False, name
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] >= 10_000
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        assert {next(key for key in volume if key != "name") for volume in pod["volumes"]} <= {"emptyDir", "secret"}
        for container in pod["containers"]:
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False
            assert security["readOnlyRootFilesystem"] is True
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["limits"]["memory"]
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}


@everywhere
def test_services_are_probed_by_native_grpc(overlay: str) -> None:
    found = {name: pod for name, pod in pods(overlay) if name in NAMES}
    assert set(found) == set(NAMES)
    for service in SUITE:
        container = found[service.name]["containers"][0]
        assert "service" not in container["livenessProbe"]["grpc"]  # the empty name: the process is alive
        assert container["readinessProbe"]["grpc"]["service"] == service.full_name
        assert container["readinessProbe"]["grpc"]["port"] == container["ports"][0]["containerPort"] == service.port


@everywhere
def test_every_service_is_asked_at_its_port(overlay: str) -> None:
    asked = {f"{service.name.upper()}_ADDRESS": f"{service.name}:{service.port}" for service in SUITE}
    for name in ("gateway", "mint"):
        (pod,) = [pod for found, pod in pods(overlay) if found == name]
        assert asked.items() <= variables(overlay, pod["containers"][0]).items()
    for item in manifests(overlay, "Service"):
        for service in SUITE:
            if item["metadata"]["name"] == service.name:
                assert item["spec"]["ports"][0]["port"] == service.port


def test_the_compose_file_runs_every_service_of_the_suite() -> None:
    file = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    assert set(NAMES) <= file["services"].keys()
    for service in SUITE:
        assert file["x-environment"][f"{service.name.upper()}_ADDRESS"] == f"{service.name}:{service.port}"


@everywhere
def test_a_pod_has_time_to_drain_before_it_is_killed(overlay: str) -> None:
    closing_s = PostgresSettings.model_fields["postgres_call_timeout_ms"].default / 1000
    for name, pod in pods(overlay):
        values = variables(overlay, pod["containers"][0])
        if name in NAMES:
            drain_s = (int(values["DRAIN_DELAY_MS"] or 0) + int(values["DRAIN_LIMIT_MS"] or 0)) / 1000 + closing_s
            assert int(values["DRAIN_DELAY_MS"] or 0) >= 4_000  # Envoy checks every second and needs three checks
            assert pod["terminationGracePeriodSeconds"] > drain_s, name
        elif name == "gateway":
            pause_s = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
            assert pod["terminationGracePeriodSeconds"] > pause_s + int(values["GATEWAY_DRAIN_S"] or 0)
    assert "drain_delay_ms" in ServiceSettings.model_fields


@everywhere
def test_secrets_are_named_and_never_written_down(overlay: str) -> None:
    assert not manifests(overlay, "Secret")
    secret_settings = {"DATABASE_URL", "REDIS_URL", "REFORGE_TOKEN_KEY", "SMTP_URL", "PASS_AUTH_KEY", "PKPASS_KEY"}
    secret_settings |= {"REFORGE_TOKEN_KEY_SECOND", "PASS_AUTH_KEY_SECOND"}
    for item in manifests(overlay, "ConfigMap"):
        assert not secret_settings & item["data"].keys()
    logins = {
        variable["valueFrom"]["secretKeyRef"]["name"]
        for name, pod in pods(overlay)
        for variable in pod["containers"][0].get("env", [])
        if variable["name"] == "DATABASE_URL"
    }
    # Each service has its own login, and none is the schema's owner.
    assert logins == {"vyris-migrations", *(f"vyris-{name}" for name in NAMES)}


@everywhere
def test_only_the_gateway_and_mints_health_look_reach_the_services(overlay: str) -> None:
    policies = {item["metadata"]["name"]: item["spec"] for item in manifests(overlay, "NetworkPolicy")}
    nothing = policies["nothing-by-default"]
    assert "ingress" not in nothing
    assert "egress" not in nothing
    assert set(nothing["policyTypes"]) == {"Ingress", "Egress"}
    allowed = policies["services-from-gateway"]["ingress"]
    callers = [source["podSelector"]["matchLabels"] for rule in allowed for source in rule["from"]]
    assert [caller.get("vyris.app/role") or caller["app.kubernetes.io/name"] for caller in callers] == [
        "gateway",
        "mint",
    ]
    for name, policy in policies.items():  # no other policy opens the services' ports
        if name in {"services-from-gateway", "metrics"} or "Ingress" not in policy["policyTypes"]:
            continue
        assert policy["podSelector"].get("matchLabels", {}).get("vyris.app/role") != "service"
    assert policies["services-to-databases"]["egress"]


@everywhere
def test_replicas_are_spread_scaled_and_kept(overlay: str) -> None:
    names = {*NAMES, "gateway"}
    for kind in ("HorizontalPodAutoscaler", "PodDisruptionBudget", "Deployment", "Service"):
        assert {item["metadata"]["name"] for item in manifests(overlay, kind)} == names, kind
    for item in manifests(overlay, "Deployment"):
        keys = {spread["topologyKey"] for spread in item["spec"]["template"]["spec"]["topologySpreadConstraints"]}
        assert keys == {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}
        assert item["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
        assert "replicas" not in item["spec"]  # the autoscaler's
    for item in manifests(overlay, "Service"):
        if item["metadata"]["name"] in NAMES:
            assert item["spec"]["clusterIP"] == "None"


@pytest.mark.parametrize("overlay", ["prod", "example-databases"])
def test_both_overlays_say_that_they_are_production(overlay: str) -> None:
    for _, pod in pods(overlay):
        values = variables(overlay, pod["containers"][0])
        assert values.get("VYRIS_ENV", "production") == "production"
    assert "opaque" not in built(overlay)


@everywhere
def test_the_policy_scanner_finds_nothing_that_is_not_justified(overlay: str, tmp_path: Path) -> None:
    """Checkov, where it is installed; checkov.yaml lists what it skips, with the reason."""
    checkov = shutil.which("checkov")
    if checkov is None:
        pytest.skip(
            "checkov is not installed (it is far bigger than the project; install it in an environment of its own)"
        )
    file = tmp_path / f"{overlay}.yaml"
    file.write_text(built(overlay))
    configuration = str(DEPLOY / "kubernetes" / "checkov.yaml")
    command = [checkov, "--config-file", configuration, "--file", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_a_real_api_server_accepts_the_manifests() -> None:
    """Server-side dry run, where VYRIS_TEST_KUBECONFIG names a cluster that may be asked."""
    kubeconfig = os.environ.get("VYRIS_TEST_KUBECONFIG")
    if not kubeconfig:
        pytest.skip("VYRIS_TEST_KUBECONFIG names no cluster")
    environment = {**os.environ, "KUBECONFIG": kubeconfig}
    # In an existing namespace, because a dry run creates none.
    text = "\n---\n".join(
        yaml.safe_dump({**item, "metadata": {**item["metadata"], "namespace": "default"}})
        for item in manifests("prod")
        if item["kind"] != "Namespace"
    )
    done = subprocess.run(
        [tool("kubectl"), "apply", "--dry-run=server", "-f", "-"],
        input=text,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("service", ["mint", "encounter", "reforge"])
def test_a_service_starts_with_what_production_gives_it(service: str, tmp_path: Path) -> None:
    """Start it until it needs Postgres, which does not run. Wallet needs a certificate of Apple's to start."""
    pod = next(pod for name, pod in pods("prod") if name == service)
    given = variables("prod", pod["containers"][0])
    secrets = {
        "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "REFORGE_TOKEN_KEY": "k" * 32,
        "SMTP_URL": "smtps://user:secret@mail.example.com",
    }
    taken = PortTaker(set())
    ours = {
        f"{service.upper()}_PORT": str(taken.free_port()),
        "METRICS_PORT": "0",
        "HEALTH_PORT": "0",
        "LISTEN_HOST": "127.0.0.1",
    }
    variables_of_pod = {name: secrets.get(name, "") if value is None else value for name, value in given.items()}
    log = tmp_path / "log"
    log.touch()
    environment = {"PATH": os.environ["PATH"], **secrets, **variables_of_pod, **ours}
    started = fork_service(service, environment, folder=tmp_path, log=log)
    try:
        for _ in range(200):
            if started.poll() is not None or '"serving"' in log.read_text():
                break
            time.sleep(0.1)
        assert '"serving"' in log.read_text(), log.read_text()
    finally:
        started.kill()
