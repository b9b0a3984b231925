"""How many tasks that only wait 0.1 s get done a second, and what does each cost?"""

from __future__ import annotations

from functools import partial

from benchmarks.harness.accounting import pss_mb
from benchmarks.harness.bursts import burst
from benchmarks.harness.contestants import Contestant
from benchmarks.harness.session import Session
from benchmarks.harness.stage import Stage

#: Seconds that each task waits.
NAP_S = 0.1

#: A thousand in flight for everybody, and never more fetched than run.
CIFRA = Contestant("cifra async", "cifra", processes=1, slots=1000, mode="async", prefetch=1000)
ASYNCIO = Contestant("dramatiq AsyncIO", "dramatiq", processes=2, slots=500, prefetch=500)
CONTESTANTS = (
    CIFRA,
    ASYNCIO,
    Contestant("dramatiq threads", "dramatiq", processes=2, slots=500, prefetch=500),
    Contestant("dramatiq gevent", "dramatiq", 2, 500, mode="gevent", prefetch=500),
    Contestant("celery gevent", "celery", 2, 500, mode="gevent", prefetch=500),
    Contestant("celery threads", "celery", processes=2, slots=500, prefetch=500),
)


def ask(session: Session) -> None:
    """Measure all on 5,000 tasks, and ours on 20,000."""
    _measure(session, "5,000 naps of 0.1 s", CONTESTANTS, session.sized(5_000, 500))
    _measure(session, "20,000 naps of 0.1 s", (CIFRA,), session.sized(20_000, 1_000))


def _measure(session: Session, line: str, contestants: tuple[Contestant, ...], count: int) -> None:
    for number, who in session.rounds(contestants):
        task = "async_nap" if who in (CIFRA, ASYNCIO) else "nap"
        session.measure(
            ("waiting", line),
            (number, who),
            partial(_naps, task=task, count=count),
            ledger_size=count,
            confirm=False,
        )


def _naps(stage: Stage, task: str, count: int) -> dict[str, float]:
    figures = burst(stage, task, count, NAP_S)
    return {**figures, "PSS MB": pss_mb(stage.worker_pids)}
