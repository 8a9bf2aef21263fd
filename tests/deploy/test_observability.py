"""Alerts and dashboard use metrics that the processes export."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import prometheus_client
import pytest
import yaml
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

import services.encounter.__main__
import services.mint.__main__
import services.reforge.__main__
import services.wallet.__main__  # noqa: F401 - what they import registers the metrics
from deploy.observability import dashboard
from deploy.observability.collector import Kept
from deploy.observability.mint_trace import waterfall
from suite import NAMES
from tests.deploy.manifests import DEPLOY

ALERTS = DEPLOY / "observability" / "alerts.yaml"
NAME = re.compile(r"\bvyris_[a-z_]+\b")


def exposed_metrics() -> set[str]:
    """Every sample name that a scrape of the processes can return."""
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
    known = exposed_metrics()
    for rule in rules():
        asked = set(NAME.findall(str(rule["expr"])))
        assert asked <= known, rule["alert"]
        assert asked or "up{" in str(rule["expr"])
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in {"page", "ticket"}  # type: ignore[index]
        assert rule["annotations"]["summary"]  # type: ignore[index]
        assert str(rule["expr"]).count("(") == str(rule["expr"]).count(")")


def test_an_alert_fires_when_any_service_of_the_suite_is_down() -> None:
    (down,) = (str(rule["expr"]) for rule in rules() if rule["alert"] == "ServiceDown")
    assert {f'absent(up{{job="vyris-{name}"}})' for name in NAMES} == set(re.findall(r"absent\([^)]*\)", down))


def test_an_alert_fires_when_its_rule_breaks_and_none_on_a_quiet_day(tmp_path: Path) -> None:
    """Checked by Prometheus' own promtool, if it is installed."""
    cases = Path(__file__).with_name("alert_cases.yaml").read_text()
    assert {str(rule["alert"]) for rule in rules()} == set(re.findall(r'alertname="(\w+)"', cases))
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (it comes with Prometheus)")
    for name, text in (("alerts.yaml", ALERTS.read_text()), ("cases.yaml", cases)):
        (tmp_path / name).write_text(text)
    judge = [promtool, "test", "rules", str(tmp_path / "cases.yaml")]
    done = subprocess.run(judge, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_operations_page_says_what_to_do_about_every_alert() -> None:
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
        assert asked <= exposed_metrics(), expression


def test_a_trace_goes_from_the_gateway_to_the_commit() -> None:
    def span(name: str, number: int, parent: int, began_ms: int, ended_ms: int, **more: object) -> Span:
        return Span(
            name=name,
            trace_id=bytes(15) + bytes([1 if number < 3 else 2]),
            span_id=bytes([number]) * 8,
            parent_span_id=bytes([parent]) * 8 if parent else b"",
            start_time_unix_nano=began_ms * 1_000_000,
            end_time_unix_nano=ended_ms * 1_000_000,
            **more,  # type: ignore[arg-type]
        )

    asked = [KeyValue(key="db.query.summary", value=AnyValue(string_value="mint_receipts"))]
    picture = waterfall(
        [
            Kept("vyris-gateway", span("ingress", 1, 0, 0, 8)),
            Kept("vyris-mint", span("Mint", 2, 1, 2, 8)),
            Kept("vyris-mint", span("batch", 3, 0, 4, 8, links=[Span.Link(span_id=b"\2" * 8)])),
            Kept("vyris-mint", span("postgres", 4, 3, 6, 8, attributes=asked)),
        ]
    )
    lines = picture.splitlines()
    assert lines[0] == f"trace {'0' * 31}1"
    assert re.search(r"^gateway +ingress +0\.00 \+ +8\.00 ms +▇{40}$", picture, re.MULTILINE)
    assert re.search(r"^mint +Mint +2\.00 \+ +6\.00 ms {12}▇{30}$", picture, re.MULTILINE)
    assert f"trace {'0' * 31}2, linked: a batch that works for 1 call" in lines
    assert re.search(r"^mint {7}postgres mint_receipts +6\.00 \+ +2\.00 ms {32}▇{10}$", picture, re.MULTILINE)


def test_the_operations_page_shows_a_trace() -> None:
    page = (DEPLOY.parent / "docs" / "operations.md").read_text()
    for step in (
        "ingress",
        "MintService/Mint",
        "batch",
        "postgres mint_receipts",
        "redis",
    ):
        assert re.search(rf"^\w+ +\S*{step} .*▇", page, re.MULTILINE), step
