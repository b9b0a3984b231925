from __future__ import annotations

import json
import threading
from typing import Any

from cifra_jobs.errors import StoreUnavailable
from cifra_jobs.runtime.heartbeat import Heartbeat, Obituaries
from cifra_jobs.store.base import Beat, Gone
from cifra_jobs.testing.services import exercise_service


def _heartbeat(commit: Any) -> Heartbeat:
    return Heartbeat(
        "w1",
        commit,
        about={"name": "default[0]", "queues": ["default"], "slots": 4},
        running=lambda: [{"task": "nap", "id": str(n)} for n in range(60)],
        period_s=3600,
        ttl_s=20,
    )


def test_a_worker_beats_at_once_and_says_goodbye() -> None:
    told: list[Any] = []
    first = threading.Event()

    def commit(operation: Any) -> None:
        told.append(operation)
        first.set()

    heart = _heartbeat(commit)
    heart.start()
    assert first.wait(10)
    heart.stop()
    beat, goodbye = told
    assert isinstance(beat, Beat)
    assert beat.ttl_ms == 20_000
    info = json.loads(beat.info)
    assert info["queues"] == ["default"]
    assert info["running_count"] == 60
    assert len(info["running"]) == 50
    assert info["rss"] > 1_000_000
    assert goodbye == Gone("w1")


def test_a_heartbeat_keeps_the_promises_of_a_service() -> None:
    exercise_service(lambda: _heartbeat(lambda _: None))


class Flaky:
    """The bottom of a store: away for the first calls."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.told: list[Any] = []
        self.heard = threading.Event()

    def commit(self, operations: Any) -> list[bool]:
        if self.failures:
            self.failures -= 1
            raise StoreUnavailable("away")
        self.told += operations
        self.heard.set()
        return [True for _ in operations]

    def close(self) -> None:
        pass


def test_a_death_is_told_again_until_the_store_has_heard() -> None:
    store = Flaky(2)
    service = Obituaries(lambda: store, 20)  # type: ignore[arg-type, return-value]
    service.start()
    service.announce("w1")
    assert store.heard.wait(10)
    service.stop()
    assert store.told == [Gone("w1")]


def test_obituaries_keep_the_promises_of_a_service() -> None:
    exercise_service(lambda: Obituaries(lambda: Flaky(0), 20))  # type: ignore[arg-type, return-value]
