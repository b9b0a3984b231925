"""Assertions about what was sent and not yet taken: for an app on the memory broker."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from cifra_jobs.brokers.memory import MemoryTransport
from cifra_jobs.jobs.message import decode
from cifra_jobs.jobs.tasks import Task

if TYPE_CHECKING:
    import dramatiq

    from cifra_jobs.app import App

__all__ = ["assert_enqueued", "refute_enqueued"]


def assert_enqueued(
    app: App,
    task: dramatiq.Actor[Any, Any],
    args: tuple[Any, ...] | None = None,
    kwargs: dict[str, Any] | None = None,
    *,
    queue: str | None = None,
) -> dramatiq.Message[Any]:
    """Assert that a call of ``task`` waits in a queue, now or after a delay; returns its message.

    Args:
        app: on the memory broker, with no worker: the fixture ``idle_jobs_app``.
        task: the task.
        args: positional arguments of the call; with neither ``args`` nor ``kwargs`` any call will
            do. By position or by name is the same call.
        kwargs: keyword arguments of the call.
        queue: where it waits; any queue when not given.

    Raises:
        AssertionError: there is none; with those that do wait.
        TypeError: the app is not on the memory broker.
    """
    waiting = _waiting(app, queue)
    for message in waiting:
        if _fits(message, task, args, kwargs):
            return message
    raise AssertionError(
        f"no call {_call(task, args, kwargs)} waits{_where(queue)}; {_all(waiting)}"
    )


def refute_enqueued(
    app: App,
    task: dramatiq.Actor[Any, Any],
    args: tuple[Any, ...] | None = None,
    kwargs: dict[str, Any] | None = None,
    *,
    queue: str | None = None,
) -> None:
    """Assert that no such call waits; the arguments are those of `assert_enqueued`.

    Raises:
        AssertionError: there is one.
        TypeError: the app is not on the memory broker.
    """
    waiting = _waiting(app, queue)
    if any(_fits(message, task, args, kwargs) for message in waiting):
        call = _call(task, args, kwargs)
        raise AssertionError(f"a call {call} waits{_where(queue)}; {_all(waiting)}")


def _waiting(app: App, queue: str | None) -> list[dramatiq.Message[Any]]:
    transport = app.transport
    if not isinstance(transport, MemoryTransport):
        raise TypeError(
            "only the memory broker shows what waits in it: configure broker.type as memory"
        )
    known = transport.known_queues()
    queues = known if queue is None else [queue] if queue in known else []
    limit = app.settings.max_message_size
    return [
        decode(publication.body, publication.content_encoding, limit=limit)
        for name in queues
        for publication in transport.waiting(name)
    ]


def _fits(
    message: dramatiq.Message[Any],
    task: dramatiq.Actor[Any, Any],
    args: tuple[Any, ...] | None,
    kwargs: dict[str, Any] | None,
) -> bool:
    if message.actor_name != task.actor_name:
        return False
    if args is None and kwargs is None:
        return True
    return _bound(task, message.args, message.kwargs) == _bound(task, args or (), kwargs or {})


def _bound(
    task: dramatiq.Actor[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    first = (None,) if isinstance(task, Task) and task.is_bound else ()
    bound = inspect.signature(task.fn).bind(*first, *args, **kwargs)
    bound.apply_defaults()
    return bound.arguments


def _call(
    task: dramatiq.Actor[Any, Any], args: tuple[Any, ...] | None, kwargs: dict[str, Any] | None
) -> str:
    if args is None and kwargs is None:
        return f"of {task.actor_name}"
    return _shown(task.actor_name, args or (), kwargs or {})


def _shown(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    shown = [repr(arg) for arg in args] + [f"{key}={value!r}" for key, value in kwargs.items()]
    return f"{name}({', '.join(shown)})"


def _where(queue: str | None) -> str:
    return "" if queue is None else f" in queue {queue!r}"


def _all(waiting: list[dramatiq.Message[Any]]) -> str:
    calls = [_shown(each.actor_name, each.args, each.kwargs) for each in waiting]
    return f"waiting: {', '.join(calls) or 'nothing'}"
