"""``cifra queue``: list, declare, verify and purge."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cifra_jobs.cli.files import worker_file_if_any
from cifra_jobs.cli.groups import LazyGroup, config_option, include_option, json_option
from cifra_jobs.cli.output import console, json_out, table
from cifra_jobs.cli.session import opened, reached
from cifra_jobs.errors import CifraError, ConfigError, UnknownQueue
from cifra_jobs.jobs.tasks import Task
from cifra_jobs.names import QUEUE_NAME_RULE, is_queue_name
from cifra_jobs.runtime.loader import import_tasks, modules_to_import

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cifra_jobs.app import App

__all__ = ["named_queues", "queue"]


@click.group(cls=LazyGroup, path=("queue",))
def queue() -> None:
    """List, declare, verify and purge queues."""


def named_queues(app: App, config: Path | None, include: tuple[str, ...]) -> list[str]:
    """The queues that tasks, routes, settings and the worker file name."""
    names = set(app.settings.queues)
    try:
        import_tasks(modules_to_import(include, app.settings.include))
    except ConfigError:
        # Without tasks the other places still name queues; with --include it is a mistake.
        if include:
            raise
    for actor in app.broker.actors.values():
        names.add(actor.queue if isinstance(actor, Task) else actor.queue_name)
    for options in app.settings.task_routes.values():
        names |= {options[key] for key in ("queue", "queue_name") if key in options}
    file = worker_file_if_any(config)
    for entry in file.workers.values() if file is not None else ():
        names |= set(entry.queues)
    return sorted(names)


def _chosen(names: Iterable[str], known: list[str]) -> list[str]:
    chosen = list(dict.fromkeys(names)) or known
    for name in chosen:
        _check(name)
    if not chosen:
        raise ConfigError(
            "no queue is named: give its name, or name the modules of tasks with --include"
        )
    return chosen


@queue.command(name="list")
@include_option
@config_option
@json_option
def list_(*, include: tuple[str, ...], config: Path | None, as_json: bool) -> None:
    """Show what the queues hold that tasks, settings and the worker file name."""
    rows = []
    with opened(config) as app:
        names = named_queues(reached(app), config, include)
        for name in sorted({*names, *app.transport.known_queues()}):
            spec = app.settings.queue(name)
            facts: dict[str, Any] = {"queue": name, "type": spec.type}
            try:
                counts = app.transport.counts(name)
                facts |= {
                    "ready": counts.ready,
                    "consumers": counts.consumers,
                    "dead": counts.dead,
                    "exists": True,
                }
            except UnknownQueue:
                facts |= {"ready": None, "consumers": None, "dead": None, "exists": False}
            rows.append(facts)
    if as_json:
        json_out(rows)
        return
    table(
        ("queue", "type", "ready", "consumers", "dead letters", "declared"),
        [(r["queue"], r["type"], r["ready"], r["consumers"], r["dead"], r["exists"]) for r in rows],
    )


@queue.command()
@click.argument("names", nargs=-1)
@include_option
@config_option
@json_option
def declare(
    names: tuple[str, ...], *, include: tuple[str, ...], config: Path | None, as_json: bool
) -> None:
    """Make sure that queues exist: NAMES, or all that tasks and the worker file name."""
    with opened(config) as app:
        chosen = _chosen(names, [] if names else named_queues(reached(app), config, include))
        reached(app).transport.declare(chosen)
    if as_json:
        json_out({"declared": chosen})
    else:
        click.echo(f"declared: {', '.join(chosen)}")


@queue.command()
@click.argument("names", nargs=-1)
@include_option
@config_option
@json_option
def verify(
    names: tuple[str, ...], *, include: tuple[str, ...], config: Path | None, as_json: bool
) -> int:
    """Compare the server with what should be there; fail if they differ."""
    with opened(config) as app:
        chosen = _chosen(names, [] if names else named_queues(reached(app), config, include))
        differences = app.transport.verify(chosen)
    if as_json:
        json_out({"queues": chosen, "differences": differences})
    elif differences:
        for difference in differences:
            click.echo(f"✗ {difference}")
    else:
        click.echo(f"✓ as declared: {', '.join(chosen)}")
    return 1 if differences else 0


@queue.command()
@click.argument("name")
@click.option("--dead", is_flag=True, help="The dead letters of the queue instead.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@config_option
@json_option
def purge(name: str, *, dead: bool, yes: bool, config: Path | None, as_json: bool) -> None:
    """Drop every waiting message of the queue NAME. There is no way back."""
    _check(name)
    what = f"the dead letters of {name}" if dead else name
    with opened(config) as app:
        counts = reached(app).transport.counts(name)
        held = counts.dead if dead else counts.ready
        if not yes:
            typed = click.prompt(
                f"{what} holds {_messages(held)}. Type the queue's name to drop them", err=True
            )
            if typed.strip() != name:
                raise CifraError(f"{typed!r} is not {name!r}: nothing was dropped")
        with console(err=True).status(f"dropping {_messages(held)}"):
            dropped = app.transport.purge(name, dead=dead)
    if as_json:
        json_out({"queue": name, "dead": dead, "dropped": dropped})
    else:
        click.echo(f"dropped {_messages(dropped)} of {what}")


def _check(name: str) -> None:
    if not is_queue_name(name):
        raise ConfigError(f"{name!r} cannot be a queue: its name must be {QUEUE_NAME_RULE}")


def _messages(count: int) -> str:
    return "1 message" if count == 1 else f"{count} messages"
