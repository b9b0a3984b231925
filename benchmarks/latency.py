"""How long from a send to the start of the task on an idle worker, and to its result?"""

from __future__ import annotations

from functools import partial
from statistics import median

from benchmarks.harness.bursts import cost_figures
from benchmarks.harness.contestants import Contestant
from benchmarks.harness.figures import percentile
from benchmarks.harness.session import Session
from benchmarks.harness.stage import Stage

CONTESTANTS = (
    Contestant("cifra threads", "cifra", processes=2, slots=4),
    Contestant("cifra async", "cifra", processes=2, slots=100, mode="async"),
    Contestant("dramatiq 2x4", "dramatiq", processes=2, slots=4),
    Contestant("celery 2 solo", "celery", processes=2, slots=1, mode="solo"),
)

#: Messages a second on the steady line.
PER_SECOND = 50

#: Clients on the last line; each has one task on its way at any time.
CLIENTS = 50


def ask(session: Session) -> None:
    """Measure the steady line and the round trip, with confirms and results on."""
    steady, trips = session.sized(500, 50), session.sized(500, 50)
    for number, who in session.rounds(CONTESTANTS):
        task = "async_noop" if who.mode == "async" else "noop"

        def measurement(stage: Stage, task: str = task) -> dict[str, float]:
            stage.start_workers(task)
            return {
                **_start_latency(stage, task, steady),
                **_round_trip(stage, task, steady, trips),
            }

        session.measure(
            ("latency", "idle worker, 50/s"),
            (number, who),
            measurement,
            ledger_size=steady + trips,
            results=True,
        )

        session.measure(
            ("latency", f"{CLIENTS} clients at once"),
            (number, who),
            partial(_at_once, task=task, count=session.sized(5_000, 200)),
            ledger_size=session.sized(5_000, 200),
            results=True,
        )


def _at_once(stage: Stage, task: str, count: int) -> dict[str, float]:
    stage.start_workers(task)
    stage.meter.start()
    per_second = stage.ask("at_once", task, 0, count, CLIENTS)
    stage.settle()
    return cost_figures(count, count / per_second, stage.meter.stop())


def _start_latency(stage: Stage, task: str, count: int) -> dict[str, float]:
    sent = stage.ask("steady", task, 0, count, PER_SECOND)
    started = stage.wait_for_tasks(0, count)
    spans_ms = [(start - send) * 1e3 for send, start in zip(sent, started, strict=True)]
    return {
        "start p50 ms": percentile(spans_ms, 50),
        "start p99 ms": percentile(spans_ms, 99),
    }


def _round_trip(stage: Stage, task: str, first: int, count: int) -> dict[str, float]:
    spans = stage.ask("round_trips", task, first, count)
    return {"round trip p50 ms": median(spans) * 1e3}
