"""The messages for a machine that cannot run the stack."""

from __future__ import annotations

import platform
import shutil
import sys

import pytest

from stack import preflight


def test_this_machine_is_fit() -> None:
    assert preflight.unfit_reason() == ""
    assert preflight.missing_module() == ""


def test_an_old_python_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9, 2))
    assert preflight.unfit_reason().startswith("VYRIS needs Python 3.11 or newer and this is 3.9:")


@pytest.mark.parametrize(("system", "machine"), [("Windows", "AMD64"), ("Linux", "riscv64")])
def test_an_unsupported_platform_is_named(monkeypatch: pytest.MonkeyPatch, system: str, machine: str) -> None:
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert f"no binaries for {system} on {machine.lower()}" in preflight.unfit_reason()


def test_a_linux_without_glibc_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert "glibc" in preflight.unfit_reason()


def test_a_missing_compiler_is_named_only_where_it_may_be_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert "no C compiler" in preflight.failed_install_reason()
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    assert "compiler" not in preflight.failed_install_reason()
