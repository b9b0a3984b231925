"""``cifra dev``: worker and API in one terminal."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cifra_jobs.app import App
from cifra_jobs.cli.files import settings_from, worker_file_if_any
from cifra_jobs.cli.groups import config_option, include_option
from cifra_jobs.cli.queues import named_queues
from cifra_jobs.cli.sidecar import web_beside
from cifra_jobs.config import WorkerFile
from cifra_jobs.dev import find_servers
from cifra_jobs.errors import ConfigError
from cifra_jobs.log import configure_logging
from cifra_jobs.runtime.fleet import run_workers
from cifra_jobs.runtime.loader import import_tasks, modules_to_import
from cifra_jobs.runtime.worker import Worker
from cifra_jobs.web import app as web_app
from cifra_jobs.web.server import bind, serve

if TYPE_CHECKING:
    from cifra_jobs.config import WorkerEntry

__all__ = ["dev"]


@click.command()
@click.option("--memory", is_flag=True, help="No servers: everything in this one process.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port of the API; 0 is any.")
@include_option
@config_option
def dev(*, memory: bool, port: int | None, include: tuple[str, ...], config: Path | None) -> int:
    """Worker and API in one terminal, for developing.

    Uses RABBITMQ_URL and REDIS_URL if they are set, else starts private servers that end with it.
    The API needs no token; with --memory it also sends: POST /api/tasks {"name": …, "args": […]}.
    """
    flower: dict[str, Any] = {"enabled": True, "public_status": True}
    if port is not None:
        flower["port"] = port
    overrides: dict[str, Any] = {"monitoring": {"flower": flower}}
    if memory:
        _in_memory(config, include, overrides)
        return 0
    place = settings_from(config, **overrides).monitoring.flower
    # Before servers are started for nothing.
    with bind(place.host, place.port):
        pass
    with find_servers(allow_embedded=False, announce=_say) as servers:
        found = servers.environment()
        overrides |= {
            "broker": {"type": "rabbitmq", "url": found["RABBITMQ_URL"]},
            "result_backend": {"type": "redis", "url": found["REDIS_URL"]},
        }
        settings = settings_from(config, **overrides)
        configure_logging(settings.logging)
        app = App(settings)
        app.install()
        entries = _entries(app, config, include)
        variables = {
            "CIFRA_BROKER__TYPE": "rabbitmq",
            "CIFRA_BROKER__URL": found["RABBITMQ_URL"],
            "CIFRA_RESULT_BACKEND__TYPE": "redis",
            "CIFRA_RESULT_BACKEND__URL": found["REDIS_URL"],
            "CIFRA_MONITORING__FLOWER__PUBLIC_STATUS": "true",
        }
        with web_beside(settings, variables):
            sent = " ".join(f"{name}={url}" for name, url in sorted(found.items()))
            _say(f"send from another terminal: {sent} cifra task send NAME --wait")
            return run_workers(settings, entries, include=include, overrides=overrides)


def _in_memory(config: Path | None, include: tuple[str, ...], overrides: dict[str, Any]) -> None:
    overrides |= {"broker": {"type": "memory"}, "result_backend": {"type": "memory"}}
    settings = settings_from(config, **overrides)
    configure_logging(settings.logging)
    place = settings.monitoring.flower
    app = App(settings)
    app.install()
    try:
        entries = _entries(app, config, include)
        with bind(place.host, place.port) as listener:
            host, port = listener.getsockname()[:2]
            _say(f"in memory, in process {os.getpid()}: nothing outlives it; Ctrl-C ends it")
            _say(f"API at http://{host}:{port}; POST /api/tasks sends")
            _work_and_serve(app, entries, listener)
    finally:
        app.close()


def _work_and_serve(app: App, entries: dict[str, WorkerEntry], listener: socket.socket) -> None:
    """One worker with the slots of all entries, in this process, until a signal."""
    resolved = [entry.resolved(app.settings.workers) for entry in entries.values()]
    worker = Worker(
        app,
        name="dev",
        queues=sorted({queue for entry in resolved for queue in entry.queues}),
        concurrency=sum(sum(entry.shares) for entry in resolved),
    )
    worker.start()
    try:
        serve(web_app(can_send=True), listener)
    finally:
        worker.stop(app.settings.shutdown_grace)


def _entries(app: App, config: Path | None, include: tuple[str, ...]) -> dict[str, WorkerEntry]:
    """The worker file's entries, or one worker for every queue that a task names."""
    import_tasks(modules_to_import(include, app.settings.include))
    file = worker_file_if_any(config)
    if file is not None:
        return dict(file.workers)
    queues = named_queues(app, config, include)
    if not queues:
        raise ConfigError("there are no tasks: name their modules with --include")
    return WorkerFile.parse({"dev": {"queues": queues}}, source="the tasks").workers


def _say(line: str) -> None:
    click.echo(line, err=True)
