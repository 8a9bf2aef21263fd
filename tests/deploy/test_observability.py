"""Alerts and dashboard speak of metrics that the processes have."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import prometheus_client
import yaml

import services.encounter.__main__
import services.mint.__main__
import services.reforge.__main__
import services.wallet.__main__  # noqa: F401 - what they import registers the metrics
from deploy.observability import dashboard
from tests.deploy.manifests import DEPLOY

ALERTS = DEPLOY / "observability" / "alerts.yaml"
NAME = re.compile(r"\bvyris_[a-z_]+\b")


def exposed() -> set[str]:
    """Every sample name that a scrape of the processes can show."""
    found = set()
    for family in prometheus_client.REGISTRY.collect():
        suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"]}.get(family.type, [""])
        found |= {family.name + suffix for suffix in suffixes}
    return found


def rules() -> Iterator[dict[str, object]]:
    for group in yaml.safe_load(ALERTS.read_text())["groups"]:
        yield from group["rules"]


def test_every_alert_asks_for_metrics_that_exist_and_says_what_is_wrong() -> None:
    names = [rule["alert"] for rule in rules()]
    assert len(names) == len(set(names)) > 10
    known = exposed()
    for rule in rules():
        asked = set(NAME.findall(str(rule["expr"])))
        assert asked <= known, rule["alert"]
        assert asked or "up{" in str(rule["expr"])
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in {"page", "ticket"}  # type: ignore[index]
        assert rule["annotations"]["summary"]  # type: ignore[index]
        assert str(rule["expr"]).count("(") == str(rule["expr"]).count(")")


def test_the_operations_page_tells_what_to_do_about_every_alert() -> None:
    page = (DEPLOY.parent / "docs" / "operations.md").read_text()
    for rule in rules():
        assert f"`{rule['alert']}`" in page


def test_the_dashboard_is_what_its_generator_makes_and_shows_metrics_that_exist() -> None:
    checked_in = json.loads(dashboard.OUTPUT.read_text())
    assert checked_in == json.loads(json.dumps(dashboard.dashboard()))
    expressions = [target["expr"] for panel in checked_in["panels"] for target in panel.get("targets", [])]
    assert len(expressions) > 10
    for expression in expressions:
        asked = set(NAME.findall(expression))
        assert asked, expression
        assert asked <= exposed(), expression
