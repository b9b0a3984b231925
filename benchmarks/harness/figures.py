"""Samples, medians and paired ratios."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

#: Figures where more is better; of all others less is.
MORE_IS_BETTER = frozenset({"tasks/s"})

#: Below this, a CPU figure of a peer is the tick of the clock: a ratio to it means nothing.
SMALLEST_CPU_US = 3.0


@dataclass(frozen=True)
class Sample:
    """What one contestant did on one line of one question in one round.

    Attributes:
        question: The file that asks, such as `drain`.
        line: The line of its table.
        contestant: Who ran.
        round: Number of the round; samples of one round are a pair.
        figures: The figures by name; the unit is part of the name.
    """

    question: str
    line: str
    contestant: str
    round: int
    figures: dict[str, float]


@dataclass(frozen=True)
class Ratio:
    """Ours over the peer's, over the rounds that both ran.

    Attributes:
        median: Median of the rounds' ratios.
        low: The smallest of them.
        high: The largest of them.
        pairs: How many rounds.
    """

    median: float
    low: float
    high: float
    pairs: int

    def __str__(self) -> str:
        return f"{self.median:.2f} [{self.low:.2f}-{self.high:.2f}]"


def paired_ratio(ours: Sequence[Sample], peers: Sequence[Sample], figure: str) -> Ratio | None:
    """The ratio of one figure, round by round; None if no round has both.

    Rounds in which the peer used next to no CPU (`SMALLEST_CPU_US`) have no ratio.
    """
    smallest = SMALLEST_CPU_US if figure.endswith("µs") else 0.0
    by_round = {sample.round: sample.figures.get(figure) for sample in peers}
    ratios = []
    for sample in ours:
        mine, theirs = sample.figures.get(figure), by_round.get(sample.round)
        if mine is not None and theirs is not None and theirs > smallest:
            ratios.append(mine / theirs)
    if not ratios:
        return None
    return Ratio(median(ratios), min(ratios), max(ratios), len(ratios))


def median_figures(samples: Sequence[Sample]) -> dict[str, float]:
    """The median of each figure, in the order in which figures first appear."""
    names = dict.fromkeys(name for sample in samples for name in sample.figures)
    return {name: median(s.figures[name] for s in samples if name in s.figures) for name in names}


def percentile(values: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile: a value that was really seen.

    Raises:
        ValueError: If there are no values.
    """
    if not values:
        message = "A percentile of no values was asked for; at least one value is needed."
        raise ValueError(message)
    ordered = sorted(values)
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(0, int(rank) - 1)]


def per_task_us(cpu_seconds: float, count: int) -> float:
    """CPU seconds of a whole run as microseconds a task, never below zero."""
    return max(0.0, cpu_seconds) / count * 1e6
