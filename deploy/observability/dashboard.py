"""The Grafana dashboard of a drop day, generated.

python -m deploy.observability.dashboard           writes dashboard.json
python -m deploy.observability.dashboard --check   exits 1 where it is not what would be written
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

OUTPUT: Final = Path(__file__).with_name("dashboard.json")
WIDTH: Final = 24
HEIGHT: Final = 7
COLUMNS: Final = 3
MINT: Final = 'method="/vyris.mint.v1.MintService/Mint"'
DROP: Final = "tier, year, environment"
LOOPS_FAILED: Final = 'sum by (loop, outcome) (increase(vyris_loop_round_seconds_count{outcome!="done"}[5m])) > 0'

# Rows of panels: title, unit, and queries by legend.
ROWS: Final[dict[str, list[tuple[str, str, dict[str, str]]]]] = {
    "The drop": [
        ("Numbers left", "short", {"{{tier}} {{year}}": f"min by ({DROP}) (vyris_slots_remaining)"}),
        ("Mints by answer", "reqps", {"{{outcome}}": "sum by (outcome) (rate(vyris_mints_total[1m]))"}),
        (
            "Time of a mint",
            "s",
            {
                f"p{round(quantile * 100)}": f"histogram_quantile({quantile}, sum by (le) "
                f"(rate(vyris_rpc_seconds_bucket{{{MINT}}}[1m])))"
                for quantile in (0.5, 0.95, 0.99)
            },
        ),
    ],
    "The rules": [
        (
            "Live over capacity, numbers unaccounted for",
            "short",
            {
                "over {{tier}} {{year}}": f"max by ({DROP}) (vyris_memberships_over_capacity)",
                "unaccounted {{tier}} {{year}}": f"max by ({DROP}) (abs(vyris_slots_unaccounted))",
            },
        ),
        (
            "Oldest unfinished: receipt, mail, push",
            "s",
            {
                "receipt": "max(vyris_receipts_oldest_pending_seconds)",
                "mail": "max(vyris_mail_outbox_oldest_seconds)",
                "push": "max(vyris_wallet_oldest_push_seconds)",
            },
        ),
        (
            "Redis against Postgres",
            "short",
            {
                "drift {{tier}} {{year}}": f"max by ({DROP}) (vyris_bouncer_drift_slots)",
                "up": "min(vyris_bouncer_up)",
            },
        ),
    ],
    "Holds": [
        ("Held numbers", "short", {"{{tier}} {{year}}": f"max by ({DROP}) (vyris_holds_live)"}),
        (
            "Holds by the minute",
            "short",
            {
                "taken": 'sum(increase(vyris_hold_takes_total{outcome="HELD"}[1m]))',
                "used": "sum(increase(vyris_holds_used_total[1m]))",
                "{{state}}": "sum by (state) (increase(vyris_holds_ended_total[1m]))",
                "kept for late payers": "sum(increase(vyris_holds_offered_total[1m]))",
            },
        ),
        (
            "Refused: holds, late payments",
            "reqps",
            {
                "{{outcome}}": 'sum by (outcome) (rate(vyris_hold_takes_total{outcome=~".*OUT|LIMIT.*"}[1m]))',
                "late": 'sum(rate(vyris_mints_total{outcome="HOLD_EXPIRED"}[1m]))',
            },
        ),
    ],
    "Draws": [
        ("Entries", "reqps", {"{{outcome}}": "sum by (outcome) (rate(vyris_draw_entries_total[1m]))"}),
        (
            "Late",
            "s",
            {
                "root {{tier}} {{year}}": "max by (tier, year) (vyris_draw_root_late_seconds)",
                "round {{tier}} {{year}}": "max by (tier, year) (vyris_draw_beacon_late_seconds)",
                "waves {{tier}} {{year}}": "max by (tier, year) (vyris_draw_wave_late_seconds)",
            },
        ),
        (
            "Offers, relays",
            "short",
            {
                "offers": "sum(increase(vyris_draw_offers_total[1m]))",
                "relays {{outcome}}": "sum by (outcome) (increase(vyris_draw_relay_answers_total[1m]))",
                "stuck {{tier}} {{year}} {{why}}": "max by (tier, year, why) (vyris_draw_stuck)",
            },
        ),
    ],
    "The mint cycle": [
        (
            "Receipts in a batch",
            "short",
            {"p50": "histogram_quantile(0.5, sum by (le) (rate(vyris_mint_batch_receipts_bucket[1m])))"},
        ),
        (
            "Time of a step",
            "s",
            {
                "{{step}}": "sum by (step) (rate(vyris_mint_step_seconds_sum[1m])) "
                "/ sum by (step) (rate(vyris_mint_step_seconds_count[1m]))"
            },
        ),
        (
            "Repairs",
            "short",
            {
                "recounts {{cause}}": "sum by (cause) (increase(vyris_recounts_total[1m]))",
                "reaped": "sum(increase(vyris_receipts_reaped_total[1m]))",
                "without Redis {{cause}}": "sum by (cause) (increase(vyris_bouncer_bypasses_total[1m]))",
            },
        ),
    ],
    "Background work": [
        ("Rounds that did not succeed", "short", {"{{loop}} {{outcome}}": LOOPS_FAILED}),
        ("Round under way", "s", {"{{loop}}": "max by (loop) (vyris_loop_busy_seconds)"}),
    ],
    "The services": [
        ("Calls", "reqps", {"{{method}}": "sum by (method) (rate(vyris_rpc_seconds_count[1m]))"}),
        (
            "Refusals",
            "reqps",
            {"{{method}} {{outcome}}": 'sum by (method, outcome) (rate(vyris_rpc_seconds_count{outcome!="OK"}[1m]))'},
        ),
        (
            "Time of a call, p99",
            "s",
            {"{{method}}": "histogram_quantile(0.99, sum by (le, method) (rate(vyris_rpc_seconds_bucket[1m])))"},
        ),
    ],
}


def dashboard() -> dict[str, Any]:
    """Grafana's dashboard model (schema version 39)."""
    panels: list[dict[str, Any]] = []
    top = 0
    for title, row in ROWS.items():
        place = {"h": 1, "w": WIDTH, "x": 0, "y": top}
        panels.append({"id": len(panels) + 1, "type": "row", "title": title, "collapsed": False, "gridPos": place})
        top += 1
        for column, (name, unit, queries) in enumerate(row):
            panels.append(_panel(len(panels) + 1, name, unit, queries, column, top))
        top += HEIGHT
    return {
        "uid": "vyris-drop-day",
        "title": "VYRIS: a drop day",
        "schemaVersion": 39,
        "refresh": "5s",
        "time": {"from": "now-30m", "to": "now"},
        "templating": {
            "list": [{"name": "source", "type": "datasource", "query": "prometheus", "label": "Prometheus"}]
        },
        "panels": panels,
    }


def _panel(number: int, name: str, unit: str, queries: dict[str, str], column: int, top: int) -> dict[str, Any]:
    width = WIDTH // COLUMNS
    source = {"type": "prometheus", "uid": "${source}"}
    return {
        "id": number,
        "type": "timeseries",
        "title": name,
        "datasource": source,
        "gridPos": {"h": HEIGHT, "w": width, "x": column * width, "y": top},
        "fieldConfig": {"defaults": {"unit": unit, "min": 0 if unit != "short" else None}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": [
            {"refId": chr(ord("A") + place), "expr": query, "legendFormat": legend, "datasource": source}
            for place, (legend, query) in enumerate(queries.items())
        ],
    }


def main() -> int:
    """Write the dashboard, or compare it."""
    text = json.dumps(dashboard(), indent=1) + "\n"
    if sys.argv[1:] != ["--check"]:
        OUTPUT.write_text(text, encoding="utf-8")
        return 0
    return 0 if OUTPUT.exists() and OUTPUT.read_text(encoding="utf-8") == text else 1


if __name__ == "__main__":
    raise SystemExit(main())
