"""A program in another language, by the same formulas, comes to the same judgements."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.draw_verifier.forgeries import FORGERIES
from tests.integration.draw_verifier.public_draw import DrawServer, PublicDraw
from tests.peers import draw as judge


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if reason := judge.missing():
        pytest.skip(reason)
    return judge.built(tmp_path_factory.mktemp("draw-judge"))


def test_the_second_judge_accepts_the_honest_draw(server: DrawServer, honest_draw: PublicDraw, program: Path) -> None:
    server.draw = honest_draw
    assert judge.verdict(program, server.url) == {"holds": True}


@pytest.mark.parametrize("name", FORGERIES)
def test_the_second_judge_refuses(server: DrawServer, smaller_draw: PublicDraw, program: Path, name: str) -> None:
    server.draw = smaller_draw.copy()
    FORGERIES[name][0](server.draw)
    verdict = judge.verdict(program, server.url)
    assert verdict["holds"] is False, name
    assert verdict["why"]
