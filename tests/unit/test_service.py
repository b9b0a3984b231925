from __future__ import annotations

import threading

import pytest

from cifra_jobs.service import LoopService, Service
from cifra_jobs.testing.services import exercise_service


class Waiting(Service):
    """Does nothing until it is stopped."""

    def __init__(self) -> None:
        super().__init__("waiting")

    def run(self, stopping: threading.Event) -> None:
        stopping.wait()


class Deaf(Service):
    """Breaks a promise: it returns from ``stop`` before it has stopped."""

    def __init__(self) -> None:
        super().__init__("deaf")
        self._may_end = threading.Event()

    def run(self, stopping: threading.Event) -> None:
        self._may_end.wait()

    def stop(self) -> None:
        threading.Timer(0.05, self._may_end.set).start()


def test_a_service_keeps_the_promises() -> None:
    exercise_service(Waiting)


def test_a_loop_service_keeps_the_promises() -> None:
    exercise_service(lambda: LoopService("loop", 60, lambda: None))


def test_the_check_notices_a_broken_promise() -> None:
    with pytest.raises(AssertionError, match="has stopped when stop"):
        exercise_service(Deaf)


def test_a_loop_goes_on_after_a_round_that_failed() -> None:
    rounds, enough = [0], threading.Event()

    def tick() -> None:
        rounds[0] += 1
        if rounds[0] == 3:
            enough.set()
        raise ValueError("a bad round")

    loop = LoopService("loop", 0.001, tick)
    loop.start()
    assert enough.wait(10)
    loop.stop()


def test_a_stop_does_not_wait_for_the_period_and_calls_the_last_duty() -> None:
    told: list[str] = []
    ticked = threading.Event()
    loop = LoopService("loop", 3600, ticked.set, last=lambda: told.append("goodbye"))
    loop.start()
    assert ticked.wait(10)
    loop.stop()
    assert told == ["goodbye"]


def test_a_service_that_stops_itself_only_asks() -> None:
    loop = LoopService("loop", 3600, lambda: loop.stop())  # noqa: PLW0108 - made on this line
    loop.start()
    assert loop.stopped(10)


def test_a_wake_brings_the_next_round_forward() -> None:
    ticks = threading.Semaphore(0)
    loop = LoopService("loop", 3600, ticks.release)
    loop.start()
    assert ticks.acquire(timeout=10)
    loop.wake()
    assert ticks.acquire(timeout=10)
    loop.stop()
