"""``@worker_lifespan``: what a worker process opens at start and closes after draining."""

from __future__ import annotations

import inspect
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

from cifra_jobs.errors import ConfigError, OptionError

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

__all__ = ["enter_lifespans", "worker_lifespan"]

_lifespans: list[Callable[[], AbstractAsyncContextManager[dict[str, Any] | None]]] = []


def worker_lifespan(fn: Callable[[], Any]) -> Callable[[], Any]:
    """Mark an async context manager that each worker process enters at its start.

    It may be written as an async generator function with one ``yield`` of a dict (or nothing), or
    already be an ``@asynccontextmanager``. The dicts of several are merged into
    ``current_task.context``. It is left after the worker has drained.

    Raises:
        OptionError: it is neither.
    """
    if inspect.isasyncgenfunction(fn):
        _lifespans.append(asynccontextmanager(fn))
    elif callable(fn) and not inspect.iscoroutinefunction(fn):
        _lifespans.append(fn)
    else:
        raise OptionError(
            "@worker_lifespan wants an async generator function with one yield,"
            f" or an @asynccontextmanager, not {fn!r}"
        )
    return fn


async def enter_lifespans(stack: AsyncExitStack) -> dict[str, Any]:
    """Enter every registered lifespan; the merged context.

    Raises:
        ConfigError: two of them yield the same key, or one yields something else than a dict.
    """
    context: dict[str, Any] = {}
    for lifespan in _lifespans:
        opened = await stack.enter_async_context(lifespan())
        name = getattr(lifespan, "__name__", repr(lifespan))
        if opened is None:
            continue
        if not isinstance(opened, dict):
            raise ConfigError(f"the worker lifespan {name} yields {opened!r}; a dict is wanted")
        twice = sorted(context.keys() & opened.keys())
        if twice:
            raise ConfigError(f"the worker lifespan {name} yields {twice}, which another has taken")
        context.update(opened)
    return context
