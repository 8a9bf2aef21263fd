"""`vyris hold` and `vyris limit`, as an operator uses them."""

from __future__ import annotations

import json
import subprocess

from tests.commands import run_vyris
from tests.integration.holds.conftest import OpenShop


def vyris(database_url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_vyris({"DATABASE_URL": database_url}, *arguments)


async def test_an_operator_sees_and_releases_a_hold_and_waives_a_limit(open_shop: OpenShop, database_url: str) -> None:
    shop = await open_shop(capacity=2)
    name = (shop.drop.tier, shop.drop.year)
    ada = await shop.take("ada")
    await shop.take("ben")
    listed = json.loads(vyris(database_url, "hold", "list", *name, "--state", "HELD", "--json").stdout)
    assert {row["user_id"] for row in listed} == {"ada", "ben"}
    assert "sequence_num" not in listed[0]
    assert json.loads(vyris(database_url, "hold", "show", str(ada.id), "--json").stdout)["state"] == "HELD"

    released = vyris(database_url, "hold", "release", str(ada.id), "--reason", "hoarding")
    assert released.returncode == 0, released.stderr
    again = vyris(database_url, "hold", "release", str(ada.id), "--reason", "hoarding")
    assert (again.returncode, again.stderr.strip()) == (1, f"There is no live hold {ada.id}.")
    await shop.check_sum()

    counts = json.loads(vyris(database_url, "limit", "list", *name, "--json").stdout)
    assert counts == [{"kind": "user", "counted": 1, "seen": 2, "most_attempts": 1}]
    assert vyris(database_url, "limit", "waive", *name, "ben", "--reason", "a gift").returncode == 0
    assert vyris(database_url, "limit", "waive", *name, "cem", "--reason", "a gift").returncode == 1
    rows = await shop.database.fetch("SELECT action, reason FROM audit_log ORDER BY id")
    assert [tuple(row) for row in rows] == [("hold.release", "hoarding"), ("limit.waive", "a gift")]


async def test_a_drop_is_created_as_it_is_to_sell(open_shop: OpenShop, database_url: str) -> None:
    shop = await open_shop()
    wanted = ["--capacity", "3", "--sale", "hold", "--hold-ttl", "60", "--limit", "device", "--hold-attempts", "1"]
    created = vyris(database_url, "drop", "create", "night", "2026", *wanted)
    assert created.returncode == 0, created.stderr
    shown = json.loads(vyris(database_url, "drop", "show", "night", "2026", "--json").stdout)
    assert (shown["sale"], shown["held"], shown["remaining"]) == ("hold", 0, 3)
    row = await shop.database.fetchrow("SELECT * FROM drops WHERE tier = 'night'")
    assert row is not None
    assert (row["limits"], row["hold_ttl_s"], row["hold_attempts"]) == (["device", "user"], 60, 1)
