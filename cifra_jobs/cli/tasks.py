"""``cifra task``: send one, look at one, revoke one."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click
import orjson

from cifra_jobs.cli.groups import LazyGroup, config_option, include_option, json_option
from cifra_jobs.cli.output import json_out, progress_bar, table, value_text
from cifra_jobs.cli.session import opened, reached
from cifra_jobs.errors import CifraError, WaitTimeout
from cifra_jobs.jobs.handle import TaskHandle, TaskStatus
from cifra_jobs.runtime.by_name import send_by_name

__all__ = ["task"]


@click.group(cls=LazyGroup, path=("task",))
def task() -> None:
    """Send a task; look at one; revoke one."""


class _Json(click.ParamType[Any]):
    """JSON of one kind."""

    def __init__(self, kind: type, name: str) -> None:
        self.kind = kind
        self.name = name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The value that the text stands for."""
        if isinstance(value, self.kind):
            return value
        try:
            parsed = orjson.loads(value)
        except orjson.JSONDecodeError as error:
            self.fail(f"{value!r} is not JSON: {error}", param, ctx)
        if not isinstance(parsed, self.kind):
            self.fail(f"{value!r} is JSON, but not {self.name}", param, ctx)
        return parsed


@task.command()
@click.argument("name")
@click.option(
    "--args", "args", type=_Json(list, "a list"), default="[]", help="Arguments: a JSON list."
)
@click.option(
    "--kwargs",
    type=_Json(dict, "an object"),
    default="{}",
    help="Named arguments: a JSON object.",
)
@click.option("--queue", help="Another queue than the task's own.")
@click.option("--priority", type=click.IntRange(0, 9), help="0 to 9; 9 is served first.")
@click.option("--delay", type=click.FloatRange(min=0), help="Seconds to wait before it runs.")
@click.option("--wait", is_flag=True, help="Wait for the end, and print the result.")
@click.option("--timeout", type=click.FloatRange(min=0), help="Seconds to wait at most.")
@include_option
@config_option
@json_option
def send(
    name: str,
    *,
    include: tuple[str, ...],
    config: Path | None,
    as_json: bool,
    wait: bool,
    timeout: float | None,
    **call: Any,
) -> None:
    """Send the task NAME and print its id."""
    with opened(config, include=include) as app:
        options = {key: value for key, value in call.items() if value is not None}
        handle = send_by_name(reached(app).broker.actors, name, **options)
        if not wait:
            _print_sent(handle, as_json=as_json)
            return
        if not as_json:
            click.echo(handle, err=True)
        asyncio.run(_watched(handle, timeout))
        _print_result(handle, as_json=as_json)


def _print_sent(handle: TaskHandle[Any], *, as_json: bool) -> None:
    if as_json:
        json_out({"id": handle.id})
    else:
        click.echo(handle.id)


async def _watched(handle: TaskHandle[Any], timeout: float | None) -> None:
    """Show the progress until the end."""
    with progress_bar() as bar:
        row = bar.add_task("waiting", total=100)
        try:
            async with asyncio.timeout(timeout):
                async for status in handle.follow():
                    said = status.message or status.stage or status.state
                    bar.update(row, completed=status.progress, description=said)
        except TimeoutError:
            raise WaitTimeout(
                f"task {handle.id!r} has not ended within {timeout:g} s; it goes on"
            ) from None


def _print_result(handle: TaskHandle[Any], *, as_json: bool) -> None:
    status = handle.status_sync()
    if as_json:
        json_out(status.as_dict())
    if status.status == "failed":
        raise CifraError(f"the task ended as {status.state}: {status.error or 'no reason is kept'}")
    if as_json:
        return
    if status.result_expired:
        raise CifraError(f"task {handle.id!r} succeeded, but its result is past its time")
    click.echo(value_text(status.as_dict()["result"]))


@task.command()
@click.argument("task_id", metavar="ID")
@config_option
@json_option
def status(task_id: str, *, config: Path | None, as_json: bool) -> None:
    """Show what is known of the task ID."""
    with opened(config) as app:
        reached(app)
        found = TaskStatus.get_sync(task_id)
    facts = found.as_dict()
    if as_json:
        json_out(facts)
        return
    traceback = facts.pop("traceback", None)
    rows = [(k, v) for k, v in facts.items() if v is not False and v not in (None, {}, [])]
    table(("", ""), [(key, value_text(value)) for key, value in rows])
    if traceback:
        click.echo(traceback)


@task.command()
@click.argument("task_id", metavar="ID")
@click.option("--wait", is_flag=True, help="Wait for the end.")
@click.option("--timeout", type=click.FloatRange(min=0), help="Seconds to wait at most.")
@config_option
@json_option
def result(
    task_id: str, *, wait: bool, timeout: float | None, config: Path | None, as_json: bool
) -> None:
    """Print the result of the task ID; fail if the task did."""
    handle: TaskHandle[Any] = TaskHandle(task_id)
    with opened(config) as app:
        reached(app)
        if wait or timeout is not None:
            asyncio.run(_watched(handle, timeout))
        found = handle.status_sync()
        if not found.is_terminal:
            raise CifraError(
                f"the task has not ended: it is {found.state}, at {found.progress:g} %; "
                "--wait waits for it"
            )
        _print_result(handle, as_json=as_json)


@task.command()
@click.argument("task_id", metavar="ID")
@click.option("--terminate", is_flag=True, help="Stop it even while it runs.")
@config_option
@json_option
def revoke(task_id: str, *, terminate: bool, config: Path | None, as_json: bool) -> None:
    """Cancel the task ID, whether or not a worker is up."""
    with opened(config) as app:
        reached(app)
        was_open = TaskHandle(task_id).revoke_sync(terminate=terminate)
    if as_json:
        json_out({"id": task_id, "revoked": was_open})
    elif was_open:
        click.echo(f"revoked {task_id}")
    else:
        raise CifraError(f"task {task_id!r} has already ended, so there is nothing to revoke")
