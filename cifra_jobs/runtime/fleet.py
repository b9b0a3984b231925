"""From worker entries to running processes: what ``cifra worker start`` calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cifra_jobs.app import App
from cifra_jobs.errors import CifraError, ConfigError
from cifra_jobs.runtime.banner import show_banner
from cifra_jobs.runtime.children import ChildSpec
from cifra_jobs.runtime.heartbeat import Obituaries
from cifra_jobs.runtime.loader import modules_to_import
from cifra_jobs.runtime.nursery import Nursery
from cifra_jobs.runtime.signals import DRAIN, DUMP, ROLL, SignalPipe
from cifra_jobs.runtime.stacks import dump_on
from cifra_jobs.runtime.supervisor import Supervisor
from cifra_jobs.runtime.zygote import Zygote

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cifra_jobs.config import Settings, WorkerEntry
    from cifra_jobs.runtime.probes import Probes
    from cifra_jobs.store.base import StateStore

__all__ = ["plan", "run_workers"]


def plan(
    settings: Settings,
    entries: Mapping[str, WorkerEntry],
    *,
    modules: Sequence[str],
    overrides: Mapping[str, Any] | None = None,
) -> list[ChildSpec]:
    """The processes that the entries ask for, in order.

    Args:
        settings: the deployment's settings; from the first rolling restart on, children read the
            same file again, so that they pick up what changed.
        entries: worker entries by name.
        modules: modules of tasks for every process.
        overrides: settings that stand over file and environment, as plain values.

    Raises:
        ConfigError: the broker is a memory broker, which no two processes can share.
    """
    if settings.broker.type == "memory":
        raise ConfigError(
            "broker.type is memory, which lives inside one process, so worker processes would "
            "wait for tasks that nobody can send them. Use `cifra dev --memory`, or set "
            "broker.type to rabbitmq."
        )
    file = settings.source_file
    specs: list[ChildSpec] = []
    for name, given in entries.items():
        entry = given.resolved(settings.workers)
        is_one_slot = entry.mode == "processes"
        specs += [
            ChildSpec(
                worker=name,
                index=index,
                queues=tuple(entry.queues),
                concurrency=share,
                mode="auto" if is_one_slot else entry.mode,
                prefetch_multiplier=entry.prefetch_multiplier,
                max_tasks=entry.max_tasks_per_child,
                max_memory=entry.max_memory_per_child,
                is_replaced_early=is_one_slot,
                modules=tuple(modules),
                config=str(file.resolve()) if file is not None else None,
                overrides=dict(overrides or {}),
                grace_s=settings.shutdown_grace,
            )
            for index, share in enumerate(entry.shares)
        ]
    return specs


def run_workers(
    settings: Settings,
    entries: Mapping[str, WorkerEntry],
    *,
    include: Sequence[str] = (),
    overrides: Mapping[str, Any] | None = None,
    is_bare: bool = False,
) -> int:
    """Run workers in processes of their own until a signal ends them; for the main thread.

    Args:
        settings: the deployment's settings, as made from ``overrides``.
        entries: the worker entries to run, by name.
        include: modules of tasks named on the command line.
        overrides: the keywords that ``settings`` was made with.
        is_bare: nothing but this library was imported into this process, it has one thread, and
            its log is set up: its worker processes can be forked from it and share its memory.
            Otherwise they are forked from a fresh interpreter.

    Returns:
        The exit code: 0 after a clean drain, 1 when processes had to be killed.

    Raises:
        ConfigError: no module of tasks, a memory broker, a taken port.
        CifraError: a process could not be kept up; the message is its own sentence.
    """
    modules = modules_to_import(include, settings.include)
    specs = plan(settings, entries, modules=modules, overrides=overrides)
    # First of all, before this process has threads.
    nursery = Nursery(Zygote.fork(App(settings)) if is_bare else Zygote.start())
    obituaries = Obituaries(lambda: _open_store(settings), settings.worker_ttl)
    supervisor = Supervisor(
        specs,
        nursery=nursery,
        on_gone=obituaries.announce,
        on_ready=lambda children: show_banner(children, settings),
    )
    probes = _probes(settings, supervisor) if _ports(settings) else None
    with SignalPipe(DRAIN | ROLL | DUMP) as signals:
        dump_on(DUMP)
        if probes is not None:
            probes.start()
        obituaries.start()
        try:
            code = supervisor.run(signals)
        finally:
            obituaries.stop()
            if probes is not None:
                probes.stop()
    if supervisor.failure is not None:
        raise CifraError(supervisor.failure)
    return code


def _probes(settings: Settings, supervisor: Supervisor) -> Probes:
    # Late: a supervisor without a port needs no HTTP server.
    from cifra_jobs.runtime.probes import Probes

    return Probes(
        settings.probes.host,
        _ports(settings),
        status=supervisor.status,
        is_stopping=lambda: supervisor.is_stopping,
    )


def _ports(settings: Settings) -> list[int]:
    metrics = settings.monitoring.metrics
    ports = [settings.probes.port] if settings.probes.port is not None else []
    return [*ports, metrics.prometheus_port] if metrics.enabled else ports


def _open_store(settings: Settings) -> StateStore:
    # Late: a supervisor none of whose processes dies needs no store, nor its libraries.
    from cifra_jobs.wiring import open_store

    return open_store(settings, "supervisor")
