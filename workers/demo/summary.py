"""The table at the end: what was sent, how it ended, how fast it was, and where the files are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Self

from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from rich.console import Console

    from workers.demo.tracker import Followed, Tracker


@dataclass(frozen=True)
class Row:
    """The figures of one task name, or of all.

    Attributes:
        expected_failures: Those sent to fail, which did.
        failures: Those that failed and should not have, or have not ended.
        mean_run: Seconds of a run, on average; of the last one where there were several.
        throughput: Tasks a second, from the first start to the last end.
    """

    sent: int
    succeeded: int
    expected_failures: int
    failures: int
    retries: int
    mean_run: float
    throughput: float

    @classmethod
    def of(cls, tasks: Sequence[Followed]) -> Self:
        """Add up some tasks."""
        statuses = [task.status for task in tasks if task.status is not None]
        failed = [t for t in tasks if t.status is not None and t.status.status == "failed"]
        succeeded = sum(status.status == "success" for status in statuses)
        expected = sum(task.must_fail for task in failed)
        runs = [s.execution_time for s in statuses if s.execution_time is not None]
        return cls(
            sent=len(tasks),
            succeeded=succeeded,
            expected_failures=expected,
            failures=len(tasks) - succeeded - expected,
            retries=sum(max(status.attempts - 1, 0) for status in statuses),
            mean_run=mean(runs) if runs else 0,
            throughput=_rate(
                [s.started_at for s in statuses if s.started_at is not None],
                [s.finished_at for s in statuses if s.finished_at is not None],
            ),
        )


def print_summary(console: Console, tracker: Tracker, out: Path, seconds: float) -> None:
    """Print the table, and the folder with what has come of the work."""
    table = Table(title="Summary", title_justify="left", title_style="bold")
    table.add_column("Task")
    for heading in ("Sent", "Succeeded", "Failed as\nexpected", "Failed", "Retries"):
        table.add_column(heading, justify="right")
    for heading in ("Mean run", "Per second"):
        table.add_column(heading, justify="right")
    for name, kind in tracker.kinds.items():
        _add(table, name, Row.of(list(kind.tasks.values())))
    table.add_section()
    everything = [task for kind in tracker.kinds.values() for task in kind.tasks.values()]
    _add(table, "total", Row.of(everything), style="bold")
    console.print()
    console.print(table)
    here = Path.cwd()
    folder = out.relative_to(here) if out.is_relative_to(here) else out
    said = f"{len(everything):,} tasks in {seconds:.1f} s. The files are in {folder}:"
    console.print(said, highlight=False)
    for what, where in (
        ("database", "cifra.db"),
        ("mails", "mails/"),
        ("reports", "files/reports/"),
        ("thumbnails", "files/thumbnails/"),
        ("worker log", "worker.log"),
        ("own log", "run.log"),
    ):
        if (out / where).exists():
            console.print(f"  {what:<11}{where}", highlight=False)


def _add(table: Table, name: str, row: Row, style: str | None = None) -> None:
    table.add_row(
        name,
        f"{row.sent:,}",
        f"{row.succeeded:,}",
        f"{row.expected_failures:,}",
        f"[red]{row.failures:,}[/red]" if row.failures else "0",
        f"{row.retries:,}",
        f"{row.mean_run * 1000:,.1f} ms",
        f"{row.throughput:,.1f}",
        style=style,
    )


def _rate(starts: Sequence[datetime], ends: Sequence[datetime]) -> float:
    if not starts or not ends:
        return 0
    seconds = (max(ends) - min(starts)).total_seconds()
    return len(ends) / seconds if seconds > 0 else 0
