"""How late do 5,000 delayed tasks start, and how long does it take to send them?"""

from __future__ import annotations

import random
from functools import partial

from benchmarks.harness.contestants import Contestant
from benchmarks.harness.figures import percentile
from benchmarks.harness.session import Session
from benchmarks.harness.stage import Stage

CONTESTANTS = (
    Contestant("cifra", "cifra", processes=2, slots=4),
    Contestant("dramatiq", "dramatiq", processes=2, slots=4),
    Contestant("celery 2x4 threads", "celery", processes=2, slots=4),
)

#: Seconds between which delays are drawn, evenly; the same ones for everybody.
SHORTEST_S, LONGEST_S = 1.0, 10.0


def ask(session: Session) -> None:
    """Measure the one line. Peers hold delayed messages in the memory of their workers."""
    count = session.sized(5_000, 200)
    chance = random.Random(5)
    delays_s = [chance.uniform(SHORTEST_S, LONGEST_S) for _ in range(count)]
    for who in session.rounds(CONTESTANTS):
        session.measure(
            ("delays", "5,000 of 1-10 s"),
            who,
            partial(_lateness, delays_s=delays_s),
            ledger_size=count,
        )


def _lateness(stage: Stage, delays_s: list[float]) -> dict[str, float]:
    stage.start_workers("noop")
    answer = stage.ask("delays", 0, delays_s)
    ran = stage.wait_for_tasks(0, len(delays_s))
    late_ms = [(at - due) * 1e3 for at, due in zip(ran, answer["due"], strict=True)]
    return {
        "late p50 ms": percentile(late_ms, 50),
        "late p99 ms": percentile(late_ms, 99),
        "sent in s": answer["took"][0],
    }
