from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator

import pytest

from cifra_jobs.app import App
from cifra_jobs.runtime.watchdog import HearingCheck, Watchdog
from cifra_jobs.runtime.worker import Worker


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    thread = threading.Thread(target=made.run_forever, daemon=True)
    thread.start()
    yield made
    made.call_soon_threadsafe(made.stop)
    thread.join(10)
    made.close()


def _run(pulses: dict[str, Callable[[Callable[[], None]], object]]) -> tuple[Watchdog, list[str]]:
    told: list[str] = []
    return Watchdog(pulses, told.append, patience_s=0.2, period_s=0.05), told


def test_a_loop_that_moves_is_left_alone(loop: asyncio.AbstractEventLoop) -> None:
    answers = threading.Semaphore(0)

    def pulse(answer: Callable[[], None]) -> None:
        def both() -> None:
            answer()
            answers.release()

        loop.call_soon_threadsafe(both)

    dog, told = _run({"executor loop": pulse})
    dog.start()
    for _ in range(10):
        assert answers.acquire(timeout=10)
    dog.stop()
    assert told == []


def test_a_loop_that_stands_still_is_reported_once(loop: asyncio.AbstractEventLoop) -> None:
    blocked, told_once = threading.Event(), threading.Event()
    told: list[str] = []

    def on_stuck(sentence: str) -> None:
        told.append(sentence)
        told_once.set()

    loop.call_soon_threadsafe(blocked.wait)
    dog = Watchdog(
        {"executor loop": loop.call_soon_threadsafe}, on_stuck, patience_s=0.2, period_s=0.05
    )
    dog.start()
    assert told_once.wait(10)
    dog.stop()
    blocked.set()
    assert len(told) == 1
    assert "executor loop has not moved" in told[0]


def test_a_loop_that_has_ended_is_reported() -> None:
    closed = asyncio.new_event_loop()
    closed.close()
    dog, told = _run({"commit thread": closed.call_soon_threadsafe})
    dog.tick()
    assert "commit thread has ended" in told[0]


def test_a_process_that_stood_still_as_a_whole_gives_everybody_the_time_again() -> None:
    dog, told = _run({"consumer": lambda _: None})
    dog.tick()
    dog._last_end -= 100  # noqa: SLF001 - as if the process had been stopped
    dog._questions["consumer"].asked_at -= 100  # noqa: SLF001
    dog.tick()
    assert told == []


def test_an_outage_of_the_broker_is_waited_out() -> None:
    told: list[str] = []
    check = HearingCheck(lambda: False, lambda: False, told.append, patience_s=0)
    for _ in range(5):
        check.tick()
    assert told == []


def test_a_consumer_that_stays_away_while_the_broker_answers_is_reported() -> None:
    told: list[str] = []
    check = HearingCheck(lambda: False, lambda: True, told.append, patience_s=0)
    check.tick()
    check.tick()
    assert len(told) == 1
    assert "although the broker answers" in told[0]


def test_a_worker_that_has_ended_is_not_taken_for_a_stuck_one(idle_jobs_app: App) -> None:
    worker = Worker(idle_jobs_app, name="w", queues=[], concurrency=1)
    worker.start()
    worker.stop(0)
    for pulse in worker.pulses().values():
        answered = threading.Event()
        pulse(answered.set)
        assert answered.wait(5)
