"""A real API server accepts the manifests, judges the pods, and upgrades from the manifests of earlier releases."""

from __future__ import annotations

import copy
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.deploy.manifests import OPERATORS_KINDS, OVERLAYS, REPOSITORY, Manifest, manifests, tool
from tests.kubernetes.cluster import Cluster, running_cluster

everywhere = pytest.mark.parametrize("overlay", OVERLAYS)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    apiserver = os.environ.get("KUBE_APISERVER")
    if not apiserver:
        pytest.skip("KUBE_APISERVER names no program: `make test-kubernetes` builds it, many minutes the first time")
    with running_cluster(apiserver, tmp_path_factory.mktemp("cluster")) as running:
        yield running


def moved(items: list[Manifest], namespace: str) -> list[Manifest]:
    """The objects in a namespace of a test's own, without those that operators define."""
    found = [copy.deepcopy(item) for item in items if item["kind"] not in OPERATORS_KINDS]
    for item in found:
        item["metadata"]["name" if item["kind"] == "Namespace" else "namespace"] = namespace
    return found


def pods_of(items: list[Manifest]) -> Iterator[Manifest]:
    """The pods that Deployments and Jobs would start."""
    for item in items:
        if "template" in item.get("spec", {}):
            template = copy.deepcopy(item["spec"]["template"])
            metadata = {**template["metadata"], "namespace": item["metadata"]["namespace"]}
            metadata["name"] = item["metadata"]["name"]
            yield {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


def assert_as_applied(cluster: Cluster, items: list[Manifest]) -> None:
    """What is stored is what was applied."""
    done = cluster.kubectl("diff", "--server-side", items=items)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


@everywhere
def test_every_object_is_accepted_and_nothing_is_left_to_apply(cluster: Cluster, overlay: str) -> None:
    items = moved(manifests(overlay), f"applied-{overlay}")
    cluster.apply(items)
    assert_as_applied(cluster, items)


@everywhere
def test_every_pod_is_admitted_where_the_restricted_profile_is_enforced(cluster: Cluster, overlay: str) -> None:
    items = moved(manifests(overlay), f"pods-{overlay}")
    cluster.apply(items)
    pods = list(pods_of(items))
    assert {pod["metadata"]["name"] for pod in pods} == {
        item["metadata"]["name"] for item in items if item["kind"] in {"Deployment", "Job"}
    }
    for pod in pods:
        loose = copy.deepcopy(pod)
        loose["spec"]["containers"][0]["securityContext"]["capabilities"] = {}
        refused = cluster.kubectl("create", items=[loose])
        assert 'violates PodSecurity "restricted:latest"' in refused.stderr
        created = cluster.create(pod)
        assert created["spec"]["serviceAccountName"] == "vyris"
        assert not any("projected" in volume for volume in created["spec"]["volumes"]), "a token is mounted"


def test_the_service_account_may_do_nothing(cluster: Cluster) -> None:
    cluster.apply(moved(manifests("prod"), "rights"))
    account = ("--as", "system:serviceaccount:rights:vyris", "--namespace", "rights")
    for resource in (
        "secrets",
        "configmaps",
        "pods",
        "serviceaccounts",
        "deployments.apps",
        "jobs.batch",
        "rolebindings",
    ):
        for verb in ("get", "list", "create", "patch", "delete"):
            asked = cluster.kubectl("auth", "can-i", verb, resource, *account)
            assert asked.stdout.strip() == "no", f"{verb} {resource}"
    # What is left is what every caller may: ask what it may, and read how the server is spoken to.
    listed = cluster.kubectl("auth", "can-i", "--list", "--no-headers", *account).stdout
    resources = {line.split()[0] for line in listed.splitlines() if not line.startswith(" ")}
    assert "selfsubjectreviews.authentication.k8s.io" in resources
    assert all(resource.startswith("self") for resource in resources), listed


def commits() -> list[str]:
    """The commits with other manifests than now: the first, and the one before the last change."""
    asked = ["git", "log", "--no-merges", "--format=%H", "--", "deploy/kubernetes"]
    done = subprocess.run(asked, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    found = done.stdout.split()
    return [found[-1], f"{found[0]}^"] if len(found) > 1 else []


def built_at(commit: str, overlay: str, folder: Path) -> list[Manifest]:
    """The objects of an overlay as a commit has them."""
    archive = subprocess.run(
        ["git", "archive", commit, "deploy/kubernetes"], cwd=REPOSITORY, capture_output=True, check=True
    )
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)
    place = folder / "deploy" / "kubernetes" / "overlays" / overlay
    done = subprocess.run([tool("kubectl"), "kustomize", str(place)], capture_output=True, text=True, check=True)
    return [item for item in yaml.safe_load_all(done.stdout) if item]


@pytest.mark.parametrize("which", [0, 1], ids=["first", "previous"])
def test_a_cluster_is_upgraded_from_earlier_manifests(cluster: Cluster, which: int, tmp_path: Path) -> None:
    found = commits()
    if not found:
        pytest.skip("the history has no earlier manifests: a shallow clone, or no clone")
    namespace = f"upgraded-{which}"
    before = moved(built_at(found[which], "prod", tmp_path), namespace)
    now = moved(manifests("prod"), namespace)
    assert before != now
    cluster.apply(before)
    # Jobs delete themselves when they are done, which needs a controller.
    assert cluster.kubectl("delete", "jobs", "--all", "--namespace", namespace).returncode == 0
    cluster.apply(now)
    assert_as_applied(cluster, now)
    for pod in pods_of(now):
        cluster.create(pod)
    left = {(item["kind"], item["metadata"]["name"]) for item in before} - {
        (item["kind"], item["metadata"]["name"]) for item in now
    }
    # The settings' names change with what they hold, so that the version before can go on with its own.
    assert {kind for kind, _ in left} <= {"ConfigMap"}, left
