"""The figures that Cifra Jobs set out to reach, to be printed beside those it reaches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.harness.figures import MORE_IS_BETTER, Sample, median_figures


@dataclass(frozen=True)
class Goal:
    """One figure of one line, for one of our contestants.

    Attributes:
        question: The file that asks.
        line: The line of its table.
        contestant: Which of ours.
        figure: Name of the figure.
        bound: At least this where more is better, else at most.
    """

    question: str
    line: str
    contestant: str
    figure: str
    bound: float

    @property
    def sign(self) -> str:
        """How the bound reads."""
        return "≥" if self.figure in MORE_IS_BETTER else "≤"

    def reached(self, samples: Sequence[Sample]) -> float | None:
        """Our median of that figure, None if it was not measured."""
        place = (self.question, self.line, self.contestant)
        mine = [s for s in samples if (s.question, s.line, s.contestant) == place]
        return median_figures(mine).get(self.figure)

    def is_met_by(self, value: float) -> bool:
        """Whether `value` is good enough."""
        if self.figure in MORE_IS_BETTER:
            return value >= self.bound
        return value <= self.bound


GOALS = (
    Goal("drain", "no-op, results", "cifra threads", "tasks/s", 15_000),
    Goal("drain", "no-op, results", "cifra threads", "worker µs", 75),
    Goal("drain", "no-op, results", "cifra threads", "broker µs", 35),
    Goal("drain", "no-op, results", "cifra threads", "redis µs", 15),
    Goal("drain", "no-op, results", "cifra async", "tasks/s", 20_000),
    Goal("drain", "no-op, results", "cifra async", "worker µs", 40),
    Goal("drain", "no-op, results", "cifra async", "broker µs", 35),
    Goal("drain", "no-op, results", "cifra async", "redis µs", 15),
    Goal("enqueue", "batch, quorum", "cifra", "tasks/s", 20_000),
    Goal("enqueue", "batch, classic", "cifra", "tasks/s", 12_000),
    Goal("enqueue", "batch, classic", "cifra", "sender µs", 40),
    Goal("enqueue", "batch, classic-9", "cifra", "tasks/s", 8_000),
    Goal("enqueue", "100 coroutines", "cifra", "tasks/s", 10_000),
    Goal("enqueue", "100 coroutines", "cifra", "sender µs", 55),
    Goal("enqueue", "loop", "cifra", "tasks/s", 2_300),
    Goal("waiting", "20,000 naps of 0.1 s", "cifra async", "tasks/s", 7_500),
    Goal("waiting", "20,000 naps of 0.1 s", "cifra async", "worker µs", 60),
    Goal("waiting", "20,000 naps of 0.1 s", "cifra async", "PSS MB", 60),
    Goal("latency", "idle worker, 50/s", "cifra threads", "start p50 ms", 0.9),
    Goal("latency", "idle worker, 50/s", "cifra threads", "start p99 ms", 1.5),
    Goal("latency", "idle worker, 50/s", "cifra threads", "round trip p50 ms", 0.8),
    Goal("latency", "50 clients at once", "cifra async", "tasks/s", 6_000),
    Goal("delays", "5,000 of 1-10 s", "cifra", "late p50 ms", 15),
    Goal("delays", "5,000 of 1-10 s", "cifra", "late p99 ms", 100),
    Goal("delays", "5,000 of 1-10 s", "cifra", "sent in s", 1),
    Goal("memory", "1 process, 8 threads, 11 queues", "cifra threads", "AMQP connections", 3),
    Goal("memory", "1 process, 8 threads, 11 queues", "cifra threads", "Redis connections", 2),
    Goal("memory", "1,000 coroutines in flight", "cifra async", "added PSS MB", 20),
)
