"""``cifra worker start``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cifra_jobs.cli.files import settings_from, worker_file
from cifra_jobs.cli.groups import LazyGroup, config_option, include_option
from cifra_jobs.config import WorkerFile
from cifra_jobs.errors import ConfigError
from cifra_jobs.log import configure_logging

if TYPE_CHECKING:
    from cifra_jobs.config import WorkerEntry

__all__ = ["worker"]


@click.group(cls=LazyGroup, path=("worker",))
def worker() -> None:
    """Start workers."""


@worker.command()
@config_option
@click.option("--worker", "names", multiple=True, metavar="NAME", help="A worker of the file.")
@click.option("--all", "is_all", is_flag=True, help="Every worker of the file.")
@click.option("--queue", "queues", multiple=True, metavar="QUEUE", help="A queue, without a file.")
@click.option("--concurrency", type=click.IntRange(1), help="Tasks at once, over all processes.")
@click.option("--processes", type=click.IntRange(1), help="Processes that share them.")
@click.option(
    "--mode",
    type=click.Choice(["auto", "threads", "async", "processes"]),
    help="How tasks run; processes is for work that keeps a core busy.",
)
@include_option
def start(
    *,
    config: Path | None,
    names: tuple[str, ...],
    is_all: bool,
    queues: tuple[str, ...],
    include: tuple[str, ...],
    **numbers: Any,
) -> int:
    """Start workers of the worker file, or one for a queue.

    \b
    cifra worker start --config worker_config.yaml --worker default
    cifra worker start --config worker_config.yaml --all
    cifra worker start --queue high_priority --concurrency 10

    Ctrl-C or SIGTERM lets running tasks finish; again: gives them back; a third time: kills.
    """  # noqa: D301 - click reads the backspace itself
    from cifra_jobs.runtime.fleet import run_workers

    given = {key: value for key, value in numbers.items() if value is not None}
    settings = settings_from(config)
    configure_logging(settings.logging)
    entries = _entries(config, names, queues, given, is_all=is_all)
    if not (is_all and settings.monitoring.flower.enabled):
        return run_workers(settings, entries, include=include, is_bare=True)
    # Late: a supervisor without a web server has no need of its libraries.
    from cifra_jobs.cli.sidecar import web_beside

    with web_beside(settings):
        return run_workers(settings, entries, include=include, is_bare=True)


def _entries(
    config: Path | None,
    names: tuple[str, ...],
    queues: tuple[str, ...],
    given: dict[str, Any],
    *,
    is_all: bool,
) -> dict[str, WorkerEntry]:
    """What to run, by name."""
    if sum((bool(names), is_all, bool(queues))) != 1:
        raise click.UsageError("say what to run: --worker NAME, --all, or --queue QUEUE")
    if queues:
        parsed = WorkerFile.parse(
            {"+".join(queues): {"queues": list(queues), **given}}, source="the command line"
        )
        return parsed.workers
    file = worker_file(config)
    if is_all and given:
        raise ConfigError(
            f"--{next(iter(given))} belongs to one worker: give it with --worker NAME or --queue"
        )
    chosen = {name: file.entry(name) for name in names} if names else file.workers
    if not given:
        return chosen
    return WorkerFile.parse(
        {name: entry.model_dump(exclude_unset=True) | given for name, entry in chosen.items()},
        source="the command line",
    ).workers
