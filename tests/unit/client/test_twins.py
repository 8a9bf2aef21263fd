"""`Client` and `AsyncClient` have the same methods; both are written out for editors and type checkers."""

from __future__ import annotations

import inspect

import pytest

from vyris.client import AsyncClient, Client


def public_methods(client: type) -> dict[str, object]:
    return {name: method for name, method in inspect.getmembers(client, inspect.isfunction) if name[0] != "_"}


def test_the_twins_have_the_same_methods() -> None:
    assert public_methods(Client).keys() == public_methods(AsyncClient).keys()


@pytest.mark.parametrize("name", [*public_methods(Client), "__init__"])
def test_a_method_takes_and_says_the_same_in_both(name: str) -> None:
    ours, theirs = getattr(Client, name), getattr(AsyncClient, name)
    assert inspect.signature(ours).parameters == inspect.signature(theirs).parameters
    assert inspect.getdoc(ours) == inspect.getdoc(theirs)
