"""A test that is alone runs beside no other, and does not wait for tests that come after it."""

from __future__ import annotations

import threading
import uuid

from tests.alone import turn


def test_tests_share_the_machine_and_one_that_is_alone_has_it() -> None:
    run = uuid.uuid4().hex
    order: list[str] = []
    shared, asked = threading.Event(), threading.Event()

    def alone() -> None:
        asked.set()
        with turn(run, alone=True):
            order.append("alone")

    def late() -> None:
        with turn(run, alone=False):
            order.append("late")

    with turn(run, alone=False):
        with turn(run, alone=False):
            shared.set()
        waiting = [threading.Thread(target=alone), threading.Thread(target=late)]
        waiting[0].start()
        asked.wait(5)
        waiting[0].join(0.2)  # by then it has its turn
        waiting[1].start()
        waiting[1].join(0.1)
        assert order == []
    for thread in waiting:
        thread.join(5)
    assert shared.is_set()
    assert order == ["alone", "late"]
