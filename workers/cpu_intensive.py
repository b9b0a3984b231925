"""Queue ``cpu_intensive``: work that keeps a core busy.

Latency: minutes. Concurrency: one task per process, and no more processes than cores.
Idempotency: files get their final name when they are complete, the same input gives the same
file, and a report that is made again replaces its row.
"""

from __future__ import annotations

from pathlib import Path

from cifra_jobs import TaskFailed, current_task, task
from workers.database import upsert
from workers.io_intensive import note_failure
from workers.lifespan import resources
from workers.models import Report
from workers.sales import MonthlySales, month_bounds, read_month


@task(queue="cpu_intensive", timeout=600, on_failure=note_failure)
def generate_monthly_report(month: int, year: int) -> dict[str, object]:
    """Add up a month's sales and draw them as a PDF."""
    # Drawing needs 60 MB that the workers of the other queues, which import this module as well,
    # have no use for.
    from workers.report_pdf import write_report

    try:
        month_bounds(year, month)
    except ValueError as error:
        raise TaskFailed(str(error), retry=False) from error
    database = resources().database
    current_task.update_progress(10, "Adding up the sales")
    with database.transaction_sync() as session:
        sales = read_month(session, year, month)
    current_task.update_progress(40, "Drawing the report")
    path = resources().settings.files / "reports" / f"{year}-{month:02d}.pdf"
    write_report(sales, path)
    current_task.update_progress(90, "Recording the report")
    row = {"year": year, "month": month, "path": str(path), "totals": _totals(sales)}
    with database.transaction_sync() as session:
        dialect = session.get_bind().dialect.name
        session.execute(upsert(dialect, Report, [row], key=["year", "month"]))
    current_task.update_progress(100, "Report completed")
    return {"path": str(path), **_totals(sales)}


@task(queue="cpu_intensive", timeout=120, on_failure=note_failure)
def make_thumbnail(path: str, size: int) -> dict[str, str]:
    """Write a small JPEG of a picture into the folder ``thumbnails``."""
    from workers.images import PictureError, write_thumbnail

    try:
        target = write_thumbnail(Path(path), resources().settings.files / "thumbnails", size)
    except PictureError as error:
        raise TaskFailed(str(error), retry=False) from error
    return {"path": str(target)}


def _totals(sales: MonthlySales) -> dict[str, object]:
    return {
        "total_cents": sales.total.cents,
        "total_count": sales.total.count,
        "by_category": {name: figure.cents for name, figure in sales.by_category.items()},
        "by_day": {day.isoformat(): figure.cents for day, figure in sales.by_day.items()},
    }
