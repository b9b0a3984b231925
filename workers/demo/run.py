"""One run: data, workers, work, progress, verdict."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cifra_jobs import configure
from cifra_jobs.app import current_app
from cifra_jobs.log import configure_logging
from workers.database import Database
from workers.demo.dataset import make_dataset
from workers.demo.display import live_progress
from workers.demo.fleet import start_workers
from workers.demo.mailbox import Mailbox
from workers.demo.scenario import play, totals
from workers.demo.summary import print_summary
from workers.demo.tracker import Tracker
from workers.demo.verdict import find_problems, unnoted_failures

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from rich.console import Console

    from cifra_jobs.dev import Servers
    from workers.demo.dataset import Dataset
    from workers.demo.fleet import Workers

#: Seconds until an order that waits for stock, or a mail that was put off, is tried again.
_RETRY_DELAY = 2
#: Seconds between two looks whether the last failures are noted.
_LOOK_AGAIN = 0.2


@dataclass(frozen=True)
class Options:
    """What the command line said.

    Attributes:
        contacts: How many contacts to import.
        out: Folder for everything the run leaves behind.
        timeout: Seconds after which it gives up.
        memory: Whether to do without servers.
    """

    contacts: int
    out: Path
    timeout: float
    memory: bool = False


class UnfinishedError(RuntimeError):
    """Time is up, and there is work left."""


async def run(options: Options, servers: Servers, console: Console) -> list[str]:
    """Do the whole work on these servers, print the summary, and return what is wrong.

    Raises:
        UnfinishedError: When the work has not ended in time.
        WorkersGoneError: When the workers ended before the work.
    """
    mailbox = Mailbox(options.out / "mails")
    database = Database(f"sqlite:///{options.out / 'cifra.db'}")
    async with mailbox.listening():
        os.environ.update(_environment(options, servers, mailbox))
        configure()
        with _log_file(options.out / "run.log"):
            try:
                return await _prepare_and_work(options, servers, console, (database, mailbox))
            finally:
                await database.close()
                # Before the servers end, so that nobody tries to reach them again.
                await asyncio.to_thread(current_app().close)


@contextmanager
def _log_file(path: Path) -> Generator[None]:
    """Let this process log into a file: the terminal belongs to the progress bars."""
    settings = current_app().settings.logging
    with path.open("w", encoding="utf-8") as file:
        configure_logging(settings, file)
        try:
            yield
        finally:
            configure_logging(settings)


async def _prepare_and_work(
    options: Options, servers: Servers, console: Console, parts: tuple[Database, Mailbox]
) -> list[str]:
    database, mailbox = parts
    database.create_tables()
    console.print(f"Making data: {options.contacts:,} contacts, orders, sales, pictures …")
    dataset = make_dataset(options.out / "input", database, options.contacts)
    tracker = Tracker(totals(dataset))
    seconds = await _work(options, servers, console, (dataset, tracker, database, mailbox))
    print_summary(console, tracker, options.out, seconds)
    return find_problems(dataset, tracker, database, mailbox, options.out / "files")


async def _work(
    options: Options,
    servers: Servers,
    console: Console,
    state: tuple[Dataset, Tracker, Database, Mailbox],
) -> float:
    dataset, tracker, database, mailbox = state
    async with start_workers(servers, options.out / "worker.log") as workers:
        console.print(f"Starting the workers of all queues {workers.description} …")
        started = time.monotonic()
        async with live_progress(console, tracker, mailbox):
            await _until_done(options.timeout, workers, dataset, tracker, database)
        return time.monotonic() - started


async def _until_done(
    timeout: float, workers: Workers, dataset: Dataset, tracker: Tracker, database: Database
) -> None:
    watch = asyncio.create_task(workers.gone())
    work = asyncio.create_task(_play_and_note(dataset, tracker, database))
    try:
        done, _ = await asyncio.wait(
            {watch, work}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED
        )
        if not done:
            raise UnfinishedError(f"After {timeout:g} s there is work left: {_left(tracker)}.")
        for each in done:
            _reraise(each)
    finally:
        watch.cancel()
        work.cancel()
        await asyncio.gather(watch, work, return_exceptions=True)


def _reraise(task: asyncio.Task[None]) -> None:
    """Give out what a task has raised; of several errors at once the first says enough."""
    try:
        task.result()
    except ExceptionGroup as group:
        error: Exception = group
        while isinstance(error, ExceptionGroup):
            error = error.exceptions[0]
        raise error from group


async def _play_and_note(dataset: Dataset, tracker: Tracker, database: Database) -> None:
    await play(dataset, tracker)
    # The tasks that note failures were sent by the library; their end shows in the table.
    while unnoted_failures(tracker, database):  # noqa: ASYNC110 - the writer is another process
        await asyncio.sleep(_LOOK_AGAIN)


def _left(tracker: Tracker) -> str:
    left = {name: kind.total - len(kind.ended) for name, kind in tracker.kinds.items()}
    return ", ".join(f"{count} {name}" for name, count in left.items() if count) or "failure notes"


def _environment(options: Options, servers: Servers, mailbox: Mailbox) -> dict[str, str]:
    """What this process and the workers read their settings from."""
    embedded = {"CIFRA_BROKER__TYPE": "memory", "CIFRA_RESULT_BACKEND__TYPE": "memory"}
    return {
        **(servers.environment() if servers.rabbitmq and servers.redis else embedded),
        # Beside a deployment on the same servers, not among its queues.
        "CIFRA_NAMESPACE": "cifra-demo",
        "DATABASE_URL": f"sqlite:///{options.out / 'cifra.db'}",
        "SMTP_URL": mailbox.url,
        "FILES_DIR": str(options.out / "files"),
        "STOCK_RETRY_DELAY": str(_RETRY_DELAY),
        "MAIL_RETRY_DELAY": str(_RETRY_DELAY),
    }
