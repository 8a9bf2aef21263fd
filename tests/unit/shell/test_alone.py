"""A test that is alone runs beside no other, and does not wait for tests that come after it."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from tests.alone import shared_machine


def test_tests_share_the_machine_and_one_that_is_alone_has_it(tmp_path: Path) -> None:
    order: list[str] = []
    shared, asked = threading.Event(), threading.Event()

    def alone() -> None:
        with shared_machine(tmp_path) as machine:
            order.append("set up")
            asked.set()
            with machine.alone():
                order.append("alone")
            order.append("torn down")

    def late() -> None:
        with shared_machine(tmp_path):
            order.append("late")

    with shared_machine(tmp_path):
        with shared_machine(tmp_path):
            shared.set()
        waiting = [threading.Thread(target=alone), threading.Thread(target=late)]
        waiting[0].start()
        asked.wait(5)
        waiting[0].join(0.2)  # by then it has its turn
        waiting[1].start()
        waiting[1].join(0.1)
        assert order == ["set up"]
    for thread in waiting:
        thread.join(5)
    assert shared.is_set()
    assert order[:2] == ["set up", "alone"]
    assert sorted(order[2:]) == ["late", "torn down"]


def test_two_that_are_alone_do_not_wait_for_each_other(tmp_path: Path) -> None:
    both, beside, done = threading.Barrier(2, timeout=5), [], []

    def alone() -> None:
        with shared_machine(tmp_path) as machine:
            both.wait()  # both are set up
            with machine.alone():
                beside.append("alone")
                time.sleep(0.01)
                assert beside == ["alone"]
                beside.clear()
        done.append(True)

    threads = [threading.Thread(target=alone) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    assert done == [True, True]
