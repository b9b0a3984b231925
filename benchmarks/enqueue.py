"""How fast, and at what CPU per message, are tasks sent with the broker's confirm?"""

from __future__ import annotations

from dataclasses import replace

from benchmarks.harness.bursts import cost_figures
from benchmarks.harness.contestants import Contestant
from benchmarks.harness.figures import Sample
from benchmarks.harness.session import QUEUE_KINDS, Session
from benchmarks.harness.stage import Stage

#: Nobody works in this question; the one process is never started.
CIFRA = Contestant("cifra", "cifra", processes=1, slots=1)
PEERS = (
    Contestant("dramatiq", "dramatiq", processes=1, slots=1),
    Contestant("celery", "celery", processes=1, slots=1),
)

#: Messages sent before counting begins: connections, declarations, caches.
WARM_UP = 200

#: Coroutines that send at once.
COROUTINES = 100

#: What the sender is asked to do on each line, and with what beside task and count.
_REQUESTS: dict[str, tuple[str | int, ...]] = {
    "loop": ("enqueue_loop",),
    "batch": ("enqueue_batch",),
    "100 coroutines": ("enqueue_coroutines", COROUTINES),
}


def ask(session: Session) -> None:
    """Measure the loop for all, batch and coroutines for ours.

    Peers have no batch and no coroutines: on those lines their loop stands beside ours.
    """
    count = session.sized(10_000, 500)
    for number, who in session.rounds((CIFRA, *PEERS)):
        loop = _measure(session, "loop", (number, who), count)
        if who is not CIFRA and loop:
            session.samples += [replace(loop, line=line) for line in ("batch", "100 coroutines")]
            continue
        _measure(session, "100 coroutines", (number, who), count)
        _measure(session, "batch", (number, who), count)
        for kind in QUEUE_KINDS:
            _measure(session, f"batch, {kind}", (number, who), count, queue_kind=kind)


def _measure(
    session: Session,
    line: str,
    who: tuple[int, Contestant],
    count: int,
    queue_kind: str | None = None,
) -> Sample | None:
    way, _, _ = line.partition(",")
    verb, *more = _REQUESTS[way]

    def measurement(stage: Stage) -> dict[str, float]:
        stage.ask("load", "noop", 0, WARM_UP)
        stage.await_quiet_broker()
        stage.meter.start()
        answer = stage.ask(str(verb), "noop", count, *more)
        stage.settle()
        cpu_s = {**stage.meter.stop(), "sender": answer["sender_s"]}
        del cpu_s["worker"]
        return cost_figures(count, answer["elapsed_s"], cpu_s)

    return session.measure(
        ("enqueue", line), who, measurement, ledger_size=count, queue_kind=queue_kind
    )
