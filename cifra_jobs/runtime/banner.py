"""What a worker says once all its processes are ready: a panel for people, one line for logs."""

from __future__ import annotations

import os
import platform
import socket
import sys
from typing import TYPE_CHECKING, TextIO

from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

import cifra_jobs
from cifra_jobs.config import mask
from cifra_jobs.log import get_logger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cifra_jobs.config import Settings
    from cifra_jobs.runtime.children import Child

__all__ = ["ready_panel", "show_banner"]

_log = get_logger("cifra.worker")

#: Tasks named for one queue; the rest is counted.
_TASKS_SHOWN = 6


def show_banner(
    children: Sequence[Child], settings: Settings, stream: TextIO | None = None
) -> None:
    """Say what is running and what it is connected to.

    Args:
        children: the processes, all ready.
        settings: the deployment's settings.
        stream: where to; standard error by default, as the log.
    """
    stream = stream if stream is not None else sys.stderr
    if stream.isatty():
        Console(file=stream).print(ready_panel(children, settings))
        return
    servers = _servers(children, settings)
    tasks = _tasks(children)
    queues = sorted({queue for child in children for queue in child.spec.queues})
    _log.info(
        "worker is ready",
        version=cifra_jobs.__version__,
        broker=servers["broker"],
        state=servers["state"],
        queues=queues,
        slots=sum(child.spec.concurrency for child in children),
        processes=[child.pid for child in children],
        tasks=sum(len(names) for names in tasks.values()),
    )
    if idle := [queue for queue in queues if not tasks.get(queue)]:
        _log.warning("no task is declared for some queues", queues=idle)


def ready_panel(children: Sequence[Child], settings: Settings) -> Panel:
    """The panel for a terminal."""
    servers = _servers(children, settings)
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim")
    facts.add_column(overflow="fold")
    facts.add_row("broker", servers["broker"])
    facts.add_row("state", servers["state"])
    file = settings.source_file
    facts.add_row("settings", str(file) if file is not None else "defaults and environment")
    facts.add_row(
        "here",
        f"{socket.gethostname()}, process {os.getpid()}, Python {platform.python_version()}",
    )
    hint = Text(
        f"Ctrl-C: running tasks may finish ({settings.shutdown_grace:g} s) · twice: they are "
        "given back · three times: kill",
        style="dim",
    )
    return Panel(
        Group(facts, Text(), _workers(children), Text(), hint),
        title=f"[bold]Cifra Jobs {cifra_jobs.__version__}[/] · worker is ready",
        title_align="left",
        border_style="green",
        padding=(1, 2),
    )


def _workers(children: Sequence[Child]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    table.add_column("worker", style="cyan", no_wrap=True)
    table.add_column("queue", no_wrap=True)
    table.add_column("slots", justify="right")
    table.add_column("processes", no_wrap=True)
    table.add_column("tasks", overflow="fold")
    tasks = _tasks(children)
    for name in dict.fromkeys(child.spec.worker for child in children):
        team = [child for child in children if child.spec.worker == name]
        slots = str(sum(child.spec.concurrency for child in team))
        mode = "one task each" if team[0].spec.is_replaced_early else team[0].spec.mode
        how = f"{len(team)} · {mode}"
        for number, queue in enumerate(team[0].spec.queues):
            shown = (name, queue, slots, how) if number == 0 else ("", queue, "", "")
            table.add_row(*shown, _listed(tasks.get(queue, [])))
    return table


def _listed(names: list[str]) -> Text:
    if not names:
        return Text("no task is declared for this queue", style="yellow")
    rest = len(names) - _TASKS_SHOWN
    more = f" and {rest} more" if rest > 0 else ""
    return Text(", ".join(names[:_TASKS_SHOWN]) + more)


def _tasks(children: Sequence[Child]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for child in children:
        for queue, names in child.about.get("tasks", {}).items():
            if queue in child.spec.queues:
                found[queue] = sorted(names)
    return found


def _servers(children: Sequence[Child], settings: Settings) -> dict[str, str]:
    told = (child.about.get("servers") for child in children)
    facts: dict[str, str] = next((each for each in told if each), {})
    has_redis = settings.result_backend.type == "redis"
    return {
        "broker": _server(facts, "broker", "RabbitMQ", settings.broker.url),
        "state": _server(facts, "store", "Redis", settings.result_backend.url)
        if has_redis
        else "memory of each process: no status or result leaves it",
    }


def _server(facts: dict[str, str], part: str, product: str, url: str) -> str:
    name = facts.get(f"{part}.product") or product
    version = facts.get(f"{part}.version")
    place = f"at {mask(url)}"
    return f"{name} {version} {place}" if version else f"{name} {place}, away for now"
