"""What ``cifra doctor`` looks at, one function for each thing that can be wrong."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cifra_jobs.brokers.base import Publication
from cifra_jobs.cli.configuration import check_options
from cifra_jobs.clock import now_ms
from cifra_jobs.errors import BrokerError, CifraError, UnknownQueue
from cifra_jobs.jobs.tasks import Task
from cifra_jobs.runtime.loader import import_tasks, modules_to_import

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cifra_jobs.app import App

__all__ = [
    "Check",
    "check_broker",
    "check_clock",
    "check_publishing",
    "check_settings",
    "check_store",
    "check_tasks",
    "check_topology",
]

#: A scheduler and a worker that disagree by more start things early or late.
_SKEW_LIMIT_MS = 1000


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: what.
        is_good: whether it is as it should be; ``None`` where it could not be told.
        detail: what was found, and what to do if it is bad.
    """

    name: str
    is_good: bool | None
    detail: str


def check_settings(app: App) -> Iterator[Check]:
    """Settings that are valid and still do not go together."""
    settings = app.settings
    try:
        check_options(settings)
    except CifraError as error:
        yield Check("task options", is_good=False, detail=str(error))
    else:
        file = settings.source_file or "defaults and environment"
        yield Check("settings", is_good=True, detail=str(file))
    if settings.broker.type == "rabbitmq" and settings.result_backend.type == "memory":
        yield Check(
            "result backend",
            is_good=False,
            detail="it is memory while the broker is shared: a sender never sees the status of a "
            "task that another process runs; set result_backend.type to redis",
        )


def check_tasks(app: App, include: Sequence[str]) -> Iterator[Check]:
    """The modules of tasks, and whether every task's options hold."""
    try:
        modules = import_tasks(modules_to_import(include, app.settings.include))
        for actor in app.broker.actors.values():
            if isinstance(actor, Task):
                actor.resolved()
    except CifraError as error:
        yield Check("tasks", is_good=False, detail=str(error))
        return
    count = len(app.broker.actors)
    yield Check(
        "tasks",
        is_good=count > 0,
        detail=f"{count} in {', '.join(modules)}" if count else f"none in {', '.join(modules)}",
    )


def check_broker(app: App) -> Iterator[Check]:
    """RabbitMQ: there, which, and whether it holds publishers back."""
    try:
        facts = app.transport.check()
    except CifraError as error:
        yield Check("broker", is_good=False, detail=str(error))
        return
    name = f"{facts.get('product', 'broker')} {facts.get('version', '')}".strip()
    shown = [facts[key] for key in ("address", "cluster") if facts.get(key)]
    yield Check("broker", is_good=True, detail=", ".join([name, *shown]))


def check_publishing(app: App) -> Iterator[Check]:
    """Whether RabbitMQ takes messages: it holds publishers back while memory or disk is short.

    Nothing tells a client so before it publishes, so a message goes out that no queue takes.
    """
    if app.settings.broker.type == "memory":
        return
    answered: Future[list[BrokerError | None]] = Future()
    timeout_s = app.settings.publish_timeout
    probe = Publication("cifra-doctor-probe", b"{}", "cifra-doctor")
    try:
        app.transport.publish([probe], answered.set_result, timeout_s=timeout_s)
        error = answered.result(2 * timeout_s)[0]
        is_blocked = app.transport.check().get("blocked") == "yes"
    except (CifraError, TimeoutError) as failure:
        yield Check("publishing", is_good=False, detail=str(failure) or "no answer in time")
        return
    if is_blocked:
        yield Check(
            "publishing",
            is_good=False,
            detail="RabbitMQ holds publishers back: its memory or disk is short "
            "(rabbitmqctl status names the alarm)",
        )
    elif error is None or isinstance(error, UnknownQueue):
        yield Check("publishing", is_good=True, detail="messages are taken and confirmed")
    else:
        yield Check("publishing", is_good=False, detail=str(error))


def check_topology(app: App, queues: Sequence[str]) -> Iterator[Check]:
    """Whether the queues are on the server as we would declare them."""
    if not queues:
        yield Check("topology", is_good=None, detail="no queue is named by tasks or worker file")
        return
    try:
        differences = app.transport.verify(queues)
    except CifraError as error:
        yield Check("topology", is_good=False, detail=str(error))
        return
    if not differences:
        yield Check("topology", is_good=True, detail=f"as declared: {', '.join(queues)}")
    for difference in differences:
        yield Check("topology", is_good=False, detail=f"{difference} (cifra queue declare)")


def check_store(app: App) -> Iterator[Check]:
    """Redis: there, which, and whether it keeps what it is told."""
    try:
        facts = app.store.check()
    except CifraError as error:
        yield Check("store", is_good=False, detail=str(error))
        return
    kind = app.settings.result_backend.type
    name = "Redis" if kind == "redis" else "memory"
    yield Check("store", is_good=True, detail=f"{name} {facts.get('version', '')}".strip())
    if kind != "redis":
        return
    is_kept = facts.get("appendonly") == "yes"
    yield Check(
        "persistence",
        is_good=is_kept,
        detail="append-only file is on"
        if is_kept
        else "append-only file is off: a restart forgets states and results; set appendonly yes",
    )
    policy = facts.get("maxmemory_policy", "unknown")
    yield Check(
        "eviction",
        is_good=policy == "noeviction",
        detail=policy
        if policy == "noeviction"
        else f"{policy}: under memory pressure Redis would drop states; "
        "set maxmemory-policy noeviction",
    )


def check_clock(app: App) -> Iterator[Check]:
    """Whether this machine and Redis agree about the time."""
    if app.settings.result_backend.type != "redis":
        return
    try:
        facts = app.store.check()
    except CifraError as error:
        yield Check("clock", is_good=None, detail=str(error))
        return
    theirs = facts.get("server_time_usec", "")
    if not theirs.isdigit():
        yield Check("clock", is_good=None, detail="this Redis does not tell its time")
        return
    skew = abs(int(theirs) // 1000 - now_ms())
    yield Check(
        "clock",
        is_good=skew <= _SKEW_LIMIT_MS,
        detail=f"{skew} ms apart from Redis"
        + ("" if skew <= _SKEW_LIMIT_MS else ": let both follow NTP, or delays and ages are wrong"),
    )
