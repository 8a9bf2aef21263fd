"""The capacity page has the simulation's table, and the simulation loses no buyer."""

from __future__ import annotations

import pytest

from deploy.capacity import GATEWAY_WORKER, MINT_REPLICA, POSTGRES_PRIMARY, shared_rate, simulate, table
from tests.bench import figures, report
from tests.bench.figures import CoreFigures
from tests.deploy.manifests import REPOSITORY


def test_the_capacity_pages_table_is_what_the_simulation_makes() -> None:
    assert table() in (REPOSITORY / "docs" / "capacity.md").read_text()


@pytest.fixture(scope="module")
def measured() -> CoreFigures:
    core = figures.read_core()
    assert core is not None
    return core


def test_the_model_gives_the_rate_of_each_measured_crowd(measured: CoreFigures) -> None:
    runs = report.crowds(measured)
    assert {run.workload for run in runs} >= {"mint", "replay", "sold out", "encounter verify"}
    for run in runs:
        cpu_us = run.all_cpu_us + run.generator_cpu_us
        assert shared_rate(cpu_us, measured.machine.cores) == pytest.approx(run.rate, rel=0.15), run


def test_planned_rates_are_at_most_two_thirds_of_measured_rates(measured: CoreFigures) -> None:
    assert measured.database[-1].mints_per_s * 2 / 3 >= POSTGRES_PRIMARY
    for connections in (64, 256):
        mint = measured.find("mint", connections, "suite")
        assert mint is not None
        assert 1e6 / mint.cpu_us["mint"] * 2 / 3 >= MINT_REPLICA
        assert 1e6 / mint.cpu_us["gateway"] * 2 / 3 >= GATEWAY_WORKER


@pytest.mark.parametrize("doubling", [False, True])
def test_no_simulated_answer_is_faster_than_postgres(doubling: bool) -> None:
    for buyers in (10_000, 1_000_000, 3_000_000):
        day = simulate(buyers, 10, doubling=doubling)
        assert day.last_answered_s >= buyers / POSTGRES_PRIMARY
        assert day.tries >= 1


def test_below_the_limit_nobody_is_shed_and_above_it_impatience_costs_the_gateway() -> None:
    assert simulate(100_000, 5, doubling=False).tries == pytest.approx(1)
    hasty, patient = simulate(2_000_000, 10, doubling=False), simulate(2_000_000, 10, doubling=True)
    assert hasty.last_answered_s == pytest.approx(2_000_000 / POSTGRES_PRIMARY, rel=0.05)
    assert patient.gateway_workers < hasty.gateway_workers / 2
    assert patient.last_answered_s > hasty.last_answered_s
