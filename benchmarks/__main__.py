"""`python -m benchmarks`: ask the questions, print the tables, keep the raw figures."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import get_args

import click
from rich.console import Console

from benchmarks import delays, drain, enqueue, latency, memory, waiting
from benchmarks.harness import plot, records
from benchmarks.harness.contestants import Make
from benchmarks.harness.report import print_report
from benchmarks.harness.session import QUEUE_KINDS, Session

QUESTIONS = {
    "enqueue": enqueue.ask,
    "drain": drain.ask,
    "waiting": waiting.ask,
    "latency": latency.ask,
    "delays": delays.ask,
    "memory": memory.ask,
}


@click.command()
@click.option("--only", multiple=True, type=click.Choice(list(QUESTIONS)), help="Repeatable.")
@click.option("--pairs", default=5, show_default=True, help="Rounds with everyone in each.")
@click.option("--smoke", is_flag=True, help="One round of small counts: does it all run?")
@click.option("--make", multiple=True, type=click.Choice(get_args(Make)), help="Repeatable.")
@click.option("--queue", default="classic", type=click.Choice(list(QUEUE_KINDS)))
@click.option("--output", type=click.Path(path_type=Path), help="Default: benchmarks/results/.")
def main(
    *,
    only: tuple[str, ...],
    pairs: int,
    smoke: bool,
    make: tuple[Make, ...],
    queue: str,
    output: Path | None,
) -> None:
    """Measure Cifra Jobs beside Dramatiq and Celery, on private servers, in one run."""
    # Whoever ends this run ends its servers and workers with it.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    # Into a file or a CI log, tables are as wide as they need to be.
    console = Console(width=None if sys.stdout.isatty() else 180)
    makes = make or get_args(Make)
    session = Session(1 if smoke else pairs, smoke, frozenset(makes), queue, console)
    machine = records.machine_notes(makes)
    for name in only or QUESTIONS:
        console.rule(name)
        with session.servers():
            QUESTIONS[name](session)
    print_report(console, session.samples)
    name = "smoke" if smoke else "+".join(only or ["all"])
    path = output or records.RESULTS / f"{name}.json"
    settings = {"pairs": session.pairs, "smoke": smoke, "queue": queue, "makes": sorted(makes)}
    records.save(path, session.samples, machine, settings)
    console.print(f"Raw figures: {path}")
    if plot.draw(path.with_suffix(".svg"), session.samples):
        console.print(f"Picture: {path.with_suffix('.svg')}")
    for failure in session.failures:
        console.print(failure, style="red", markup=False)
    sys.exit(1 if session.failures else 0)


if __name__ == "__main__":
    main()
