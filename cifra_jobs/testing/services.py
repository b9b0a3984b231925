"""One check of the `Service` promises, to be run over every service there is."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from cifra_jobs.service import Service

__all__ = ["exercise_service"]

#: Seconds that a promise may take before it counts as broken.
_PATIENCE_S = 10.0


def exercise_service(make: Callable[[], Service], *, rounds: int = 20) -> None:
    """Hold a service to every promise of ``cifra_jobs/service.py``.

    Args:
        make: builds a service that was never started.
        rounds: how often the race of starts against stops is run.

    Raises:
        AssertionError: naming the promise that was broken.
    """
    service = make()
    service.stop()
    _demand(not service.is_running, "a stop before the start must change nothing")

    service.start()
    service.start()
    _demand(service.is_running, "a service runs after its start")
    service.stop()
    service.stop()
    _demand(not service.is_running, "a service has stopped when stop() returns")

    service.start()
    _demand(service.is_running, "a stopped service can be started again")
    _stop_from_many_threads(service)

    for _ in range(rounds):
        _race(service)
    service.stop()
    _demand(service.stopped(_PATIENCE_S), "a service stops whatever raced before")


def _stop_from_many_threads(service: Service) -> None:
    seen: list[bool] = []

    def stop() -> None:
        service.stop()
        seen.append(service.is_running)

    _run_together([stop] * 8)
    _demand(seen == [False] * 8, "each of several stops returns after the end")


def _race(service: Service) -> None:
    _run_together([service.start, service.stop, service.start, service.stop])


def _run_together(jobs: list[Callable[[], None]]) -> None:
    gate = threading.Barrier(len(jobs))

    def run(job: Callable[[], None]) -> None:
        gate.wait()
        job()

    threads = [threading.Thread(target=run, args=(job,), daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(_PATIENCE_S)
    _demand(not any(thread.is_alive() for thread in threads), "start and stop never hang")


def _demand(claim: bool, promise: str) -> None:  # noqa: FBT001 - reads as an assertion
    if not claim:
        raise AssertionError(f"the service broke a promise: {promise}")
