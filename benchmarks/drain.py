"""How fast, and at what CPU per task, are 10,000 waiting no-op tasks worked off?"""

from __future__ import annotations

from functools import partial

from benchmarks.harness.bursts import burst
from benchmarks.harness.contestants import Contestant
from benchmarks.harness.session import Session

#: Two processes for two cores; one thread each is Dramatiq's best for no-ops.
CONTESTANTS = (
    Contestant("cifra threads", "cifra", processes=2, slots=4),
    Contestant("cifra async", "cifra", processes=2, slots=100, mode="async"),
    Contestant("dramatiq 2x1", "dramatiq", processes=2, slots=1),
    Contestant("dramatiq 2x4", "dramatiq", processes=2, slots=4),
    Contestant("celery 2 solo", "celery", processes=2, slots=1, mode="solo"),
)

#: Results stored or not; state is recorded by Cifra Jobs on both lines.
LINES = {"no-op": False, "no-op, results": True}


def ask(session: Session) -> None:
    """Measure every line."""
    count = session.sized(10_000, 500)
    for line, results in LINES.items():
        for number, who in session.rounds(CONTESTANTS):
            task = "async_noop" if who.mode == "async" else "noop"
            session.measure(
                ("drain", line),
                (number, who),
                partial(burst, task=task, count=count),
                ledger_size=count,
                results=results,
                confirm=False,
            )
