"""Tables for people: figures, ratios, goals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.harness.contestants import OURS
from benchmarks.harness.figures import Ratio, Sample, median_figures, paired_ratio
from benchmarks.harness.goals import GOALS

#: Values from here on are shown without decimals.
WHOLE_NUMBERS_FROM = 100


def by_line(samples: Sequence[Sample]) -> dict[tuple[str, str], dict[str, list[Sample]]]:
    """Samples by question and line, then by contestant, in the order of their first round."""
    lines: dict[tuple[str, str], dict[str, list[Sample]]] = {}
    for sample in sorted(samples, key=lambda sample: sample.round):
        contestants = lines.setdefault((sample.question, sample.line), {})
        contestants.setdefault(sample.contestant, []).append(sample)
    return lines


def ratios(samples: Sequence[Sample]) -> Iterator[tuple[tuple[str, str], str, str, str, Ratio]]:
    """Line, ours, peer, figure and ratio, for every pair of ours and a peer on one line."""
    for line, contestants in by_line(samples).items():
        ours = {name: them for name, them in contestants.items() if name.startswith(OURS)}
        peers = {name: them for name, them in contestants.items() if name not in ours}
        for mine, my_samples in ours.items():
            for peer, peer_samples in peers.items():
                for figure in median_figures(my_samples):
                    ratio = paired_ratio(my_samples, peer_samples, figure)
                    if ratio is not None:
                        yield line, mine, peer, figure, ratio


def print_report(console: Console, samples: Sequence[Sample]) -> None:
    """Print a table for each line, then the goals."""
    for line, contestants in by_line(samples).items():
        console.print(_line_table(line, contestants))
    console.print(_goal_table(samples))


def number(value: float) -> str:
    """A figure with as many digits as mean something."""
    return f"{value:,.0f}" if value >= WHOLE_NUMBERS_FROM else f"{value:.3g}"


def _line_table(line: tuple[str, str], contestants: dict[str, list[Sample]]) -> Table:
    """Medians of each contestant; below them ours / peer, median and range of the pairs."""
    everyone = [sample for samples in contestants.values() for sample in samples]
    names = list(median_figures(everyone))
    rounds = len({sample.round for sample in everyone})
    table = Table(title=f"{': '.join(line)} (medians of {rounds} rounds)", title_justify="left")
    table.add_column()
    for name in names:
        table.add_column(name, justify="right")
    for contestant, samples in contestants.items():
        figures = median_figures(samples)
        cells = [number(figures[name]) if name in figures else "-" for name in names]
        table.add_row(contestant, *cells)
    table.add_section()
    pairs: dict[str, dict[str, str]] = {}
    for _, mine, peer, figure, ratio in ratios(everyone):
        pairs.setdefault(f"{mine} / {peer}", {})[figure] = str(ratio)
    for pair, cells_by_name in pairs.items():
        table.add_row(pair, *(escape(cells_by_name.get(name, "-")) for name in names))
    return table


def _goal_table(samples: Sequence[Sample]) -> Table:
    table = Table(title="goals", title_justify="left")
    for name in ("question", "ours", "figure"):
        table.add_column(name)
    for name in ("goal", "reached", ""):
        table.add_column(name, justify="right")
    for goal in GOALS:
        value = goal.reached(samples)
        if value is None:
            continue
        verdict = "[green]met" if goal.is_met_by(value) else "[red]missed"
        question = f"{goal.question}: {goal.line}"
        bound = f"{goal.sign} {number(goal.bound)}"
        table.add_row(question, goal.contestant, goal.figure, bound, number(value), verdict)
    return table
