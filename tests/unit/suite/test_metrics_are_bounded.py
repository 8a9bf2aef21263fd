"""No metric has a label whose values grow with users, receipts or memberships."""

from __future__ import annotations

import importlib

from prometheus_client import REGISTRY

from tests.shell import REPOSITORY

# Drops are made by operators, methods and loops by the code, and the rest are words of the code.
BOUNDED = {
    *("tier", "year", "environment", "why"),
    *("method", "loop", "step", "owner"),
    *("outcome", "kind", "cause", "state", "stage", "about", "event"),
}


def test_every_label_of_every_metric_has_few_values() -> None:
    for file in sorted((REPOSITORY / "services").rglob("*.py")):
        if "prometheus_client import" in file.read_text("utf-8"):
            importlib.import_module(".".join(file.relative_to(REPOSITORY).with_suffix("").parts))
    families = {
        name: set(collector._labelnames)
        for name, collector in REGISTRY._names_to_collectors.items()
        if name.startswith("vyris_") and hasattr(collector, "_labelnames")
    }
    assert len(families) > 50
    assert {name: labels - BOUNDED for name, labels in families.items() if labels - BOUNDED} == {}
