"""An API server of Kubernetes with its etcd. No controllers and no nodes: what is applied is stored, nothing runs."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.deploy.manifests import Manifest, tool
from tests.ports import free_port

START_LIMIT_S: Final = 120.0
TOKEN: Final = "only-on-loopback"


@dataclass(frozen=True)
class Cluster:
    """A running API server, and `kubectl` as its administrator."""

    kubeconfig: Path

    def kubectl(self, *arguments: str, items: Sequence[Manifest] = ()) -> subprocess.CompletedProcess[str]:
        """Run `kubectl`; it reads `items` as `-f -` if there are any."""
        return subprocess.run(
            [tool("kubectl"), "--kubeconfig", str(self.kubeconfig), *arguments, *(("-f", "-") if items else ())],
            input=yaml.safe_dump_all(items),
            capture_output=True,
            text=True,
            check=False,
        )

    def apply(self, items: Sequence[Manifest]) -> None:
        """Apply objects; the server may neither refuse one nor warn."""
        done = self.kubectl("apply", "--server-side", items=items)
        assert done.returncode == 0, done.stderr
        assert not done.stderr, done.stderr

    def create(self, item: Manifest) -> Manifest:
        """Create one object; returns it with what the server added. Raises AssertionError with the server's refusal."""
        done = self.kubectl("create", "--output", "json", items=[item])
        assert done.returncode == 0, done.stderr
        assert not done.stderr, done.stderr
        created: Manifest = json.loads(done.stdout)
        return created


@contextlib.contextmanager
def running_cluster(apiserver: str, folder: Path) -> Iterator[Cluster]:
    """Run etcd and the API server on loopback ports; both are killed at the end."""
    etcd, peers = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
    secure = free_port()
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    (folder / "sa.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
    (folder / "tokens.csv").write_text(f"{TOKEN},administrator,1,system:masters\n")
    commands = {
        "etcd": ["etcd", "--data-dir", str(folder / "etcd"), "--listen-client-urls", etcd,
                 "--advertise-client-urls", etcd, "--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers,
                 "--initial-cluster", f"default={peers}", "--unsafe-no-fsync"],
        "apiserver": [apiserver, "--etcd-servers", etcd, "--bind-address", "127.0.0.1", "--secure-port", str(secure),
                      "--cert-dir", str(folder / "certificates"), "--token-auth-file", str(folder / "tokens.csv"),
                      "--authorization-mode", "RBAC", "--service-cluster-ip-range", "10.0.0.0/24",
                      "--service-account-issuer", "https://kubernetes.default.svc",
                      "--service-account-key-file", str(folder / "sa.key"),
                      "--service-account-signing-key-file", str(folder / "sa.key")],
    }  # fmt: skip
    (folder / "kubeconfig").write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "test",
                "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
                "clusters": [
                    {
                        "name": "test",
                        "cluster": {
                            "server": f"https://127.0.0.1:{secure}",
                            "certificate-authority": str(folder / "certificates" / "apiserver.crt"),
                        },
                    }
                ],
                "users": [{"name": "test", "user": {"token": TOKEN}}],
            }
        )
    )
    cluster = Cluster(folder / "kubeconfig")
    with contextlib.ExitStack() as exits:
        for name, command in commands.items():
            log = exits.enter_context((folder / f"{name}.log").open("wb"))
            process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "GOMAXPROCS": "1"})
            exits.callback(process.wait)
            exits.callback(process.kill)
        until_s = time.monotonic() + START_LIMIT_S
        while cluster.kubectl("get", "--raw", "/readyz").returncode != 0:
            if process.poll() is not None or time.monotonic() > until_s:
                raise RuntimeError((folder / "apiserver.log").read_text()[-2000:])
            time.sleep(0.5)
        yield cluster
