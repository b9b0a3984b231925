"""What does an idle worker hold: memory, connections, and memory per waiting coroutine?"""

from __future__ import annotations

from benchmarks.harness.accounting import connection_count, pss_mb
from benchmarks.harness.contestants import Contestant
from benchmarks.harness.session import Session
from benchmarks.harness.stage import Stage

TWO_PROCESSES = (
    Contestant("cifra threads", "cifra", processes=2, slots=8),
    Contestant("dramatiq", "dramatiq", processes=2, slots=8),
    Contestant("celery", "celery", processes=2, slots=1, mode="solo"),
)
ONE_PROCESS = (
    Contestant("cifra threads", "cifra", processes=1, slots=8),
    Contestant("dramatiq", "dramatiq", processes=1, slots=8),
    Contestant("celery", "celery", processes=1, slots=8),
)
COROUTINES = (
    Contestant("cifra async", "cifra", processes=1, slots=1000, mode="async", prefetch=1000),
    Contestant("dramatiq AsyncIO", "dramatiq", processes=1, slots=1000, prefetch=1000),
)

#: Queues on the line that counts connections.
QUEUES = 11

#: Tasks on that line that send to another queue, so that every thread has once sent.
RELAYS = 64

#: Coroutines in flight on the last line.
IN_FLIGHT = 1000

#: Seconds that each stays in flight: longer than it takes to start them all.
HOLD_S = 8.0


def ask(session: Session) -> None:
    """Measure the three lines; rounds are the same for all, though memory hardly varies."""
    for who in session.rounds(TWO_PROCESSES):
        session.measure(("memory", "two processes, idle"), who, _idle, ledger_size=0, results=True)
    for who in session.rounds(ONE_PROCESS):
        session.measure(
            ("memory", "1 process, 8 threads, 11 queues"),
            who,
            _connections,
            ledger_size=RELAYS + QUEUES,
            results=True,
            queue_count=QUEUES,
        )
    for who in session.rounds(COROUTINES):
        session.measure(
            ("memory", "1,000 coroutines in flight"), who, _in_flight, ledger_size=IN_FLIGHT
        )


def _idle(stage: Stage) -> dict[str, float]:
    stage.start_workers("noop")
    stage.settle()
    return {"PSS MB": pss_mb(stage.worker_pids)}


def _connections(stage: Stage) -> dict[str, float]:
    stage.start_workers("noop")
    stage.ask("load", "relay", 0, RELAYS, stage.run.queues[1])
    for index, queue in enumerate(stage.run.queues):
        stage.ask("send_delayed", queue, RELAYS + index, 0.5)
    stage.wait_for_tasks(0, RELAYS + QUEUES)
    stage.settle()
    return {
        "AMQP connections": connection_count(stage.worker_pids, stage.servers.rabbitmq.port),
        "Redis connections": connection_count(stage.worker_pids, stage.servers.redis.port),
    }


def _in_flight(stage: Stage) -> dict[str, float]:
    stage.start_workers("async_noop")
    stage.settle()
    before = pss_mb(stage.worker_pids)
    stage.ask("load", "hold", 0, IN_FLIGHT, HOLD_S)
    stage.wait_for_tasks(0, IN_FLIGHT)
    return {"added PSS MB": pss_mb(stage.worker_pids) - before}
