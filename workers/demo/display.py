"""Live progress: bars on a terminal, one line a second elsewhere."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from rich.console import Console
    from rich.progress import TaskID

    from workers.demo.mailbox import Mailbox
    from workers.demo.tracker import Tracker

#: Seconds between two looks, on a terminal and in a log.
_REFRESH_TERMINAL, _REFRESH_LOG = 0.25, 1.0
#: What people read for each task name.
_TITLES = {
    "import_contacts": "Contact imports",
    "send_email": "E-mails",
    "process_order": "Orders",
    "receive_delivery": "Deliveries",
    "generate_monthly_report": "Monthly reports",
    "make_thumbnail": "Thumbnails",
}


@asynccontextmanager
async def live_progress(
    console: Console, tracker: Tracker, mailbox: Mailbox
) -> AsyncGenerator[None]:
    """Show how far everything is until the end of the block."""
    show = _show_bars if console.is_terminal else _show_lines
    display = asyncio.create_task(show(console, tracker, mailbox))
    try:
        yield
    finally:
        display.cancel()
        with suppress(asyncio.CancelledError):
            await display


def counts(tracker: Tracker, mailbox: Mailbox) -> dict[str, tuple[float, int]]:
    """Done and total of each task name; a task halfway done counts as a half."""
    done = {
        name: sum(task.progress for task in kind.tasks.values()) / 100
        for name, kind in tracker.kinds.items()
    }
    # The mail server sees mails before their import, which tells us of them, has ended.
    done["send_email"] = max(done["send_email"], len(mailbox.received) + mailbox.refused)
    return {name: (done[name], tracker.kinds[name].total) for name in _TITLES}


async def _show_bars(console: Console, tracker: Tracker, mailbox: Mailbox) -> None:
    columns = (
        SpinnerColumn(finished_text="[green]✓"),
        TextColumn("{task.description}"),
        BarColumn(bar_width=36),
        TextColumn("{task.percentage:>3.0f}%"),
        TextColumn("{task.fields[amount]}", justify="right"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, auto_refresh=False) as progress:
        bars = {
            name: progress.add_task(title, total=tracker.kinds[name].total, amount="")
            for name, title in _TITLES.items()
        }
        try:
            while True:
                _update(progress, bars, counts(tracker, mailbox))
                await asyncio.sleep(_REFRESH_TERMINAL)
        finally:
            _update(progress, bars, counts(tracker, mailbox))


def _update(
    progress: Progress, bars: dict[str, TaskID], state: dict[str, tuple[float, int]]
) -> None:
    for name, (done, total) in state.items():
        amount = f"{int(done):,} of {total:,}"
        progress.update(bars[name], completed=done, amount=amount)
    progress.refresh()


async def _show_lines(console: Console, tracker: Tracker, mailbox: Mailbox) -> None:
    started = time.monotonic()

    def show() -> None:
        parts = [
            f"{_TITLES[name]} {int(done)}/{total}"
            for name, (done, total) in counts(tracker, mailbox).items()
        ]
        console.print(f"{time.monotonic() - started:4.0f} s  " + " · ".join(parts), soft_wrap=True)

    try:
        while True:
            show()
            await asyncio.sleep(_REFRESH_LOG)
    finally:
        show()
