"""Sends a task of which only the name is known: for the command line and for HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cifra_jobs.config import nearest
from cifra_jobs.errors import CifraError, OptionError
from cifra_jobs.jobs.handle import TaskHandle
from cifra_jobs.jobs.tasks import Task

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["UnknownTask", "send_by_name"]


class UnknownTask(CifraError, LookupError):
    """No imported module declares a task of that name; the message names the nearest."""


def send_by_name(
    actors: Mapping[str, Any],
    name: str,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    delay: float | None = None,
    **options: Any,
) -> TaskHandle[Any]:
    """Send a task, checked as if it were called in code.

    Args:
        actors: the tasks there are, by name.
        name: the task.
        args: its arguments.
        kwargs: its named arguments.
        delay: seconds to wait before it runs.
        **options: options of the call, such as ``queue`` and ``priority``.

    Raises:
        UnknownTask: there is none of that name.
        ArgumentError: the arguments do not fit its signature.
        OptionError: an option is unknown, or has a bad value.
    """
    if name not in actors:
        guess = nearest(name, actors)
        there = f"there are {', '.join(sorted(actors))}" if actors else "there are none at all"
        raise UnknownTask(
            f"there is no task {name!r}; " + (f"did you mean {guess!r}?" if guess else there)
        )
    actor = actors[name]
    kwargs = dict(kwargs or {})
    if isinstance(actor, Task):
        handle: TaskHandle[Any] = actor.apply_async(tuple(args), kwargs, countdown=delay, **options)
        return handle
    if options:
        raise OptionError(
            f"{name!r} is a plain Dramatiq actor: {next(iter(options))!r} is for tasks of @task"
        )
    message = actor.send_with_options(
        args=tuple(args), kwargs=kwargs, delay=None if delay is None else int(delay * 1000)
    )
    return TaskHandle(message.message_id)
