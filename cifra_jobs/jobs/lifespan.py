"""``@worker_lifespan``: what a worker process opens at start and closes after draining."""

from __future__ import annotations

import asyncio
import inspect
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

from cifra_jobs.errors import ConfigError, OptionError

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

__all__ = ["Lifespans", "registered", "worker_lifespan"]

#: Those of this process, in the order in which workers enter them.
registered: list[Callable[[], AbstractAsyncContextManager[dict[str, Any] | None]]] = []


def worker_lifespan(fn: Callable[[], Any]) -> Callable[[], Any]:
    """Mark an async context manager that each worker process enters at its start.

    It may be written as an async generator function with one ``yield`` of a dict (or nothing), or
    already be an ``@asynccontextmanager``. The dicts of several are merged into
    ``current_task.context``. It is left after the worker has drained.

    Raises:
        OptionError: it is neither.
    """
    if inspect.isasyncgenfunction(fn):
        registered.append(asynccontextmanager(fn))
    elif callable(fn) and not inspect.iscoroutinefunction(fn):
        registered.append(fn)
    else:
        raise OptionError(
            "@worker_lifespan wants an async generator function with one yield,"
            f" or an @asynccontextmanager, not {fn!r}"
        )
    return fn


class Lifespans:
    """The registered lifespans of one worker, on its event loop.

    One asyncio task enters and leaves them: a task group or a cancel scope that is held across the
    ``yield`` must end in the task that began it.
    """

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None
        self._must_leave = asyncio.Event()

    async def enter(self) -> dict[str, Any]:
        """Enter every registered lifespan; the merged context.

        Where one fails, those entered before it are left again.

        Raises:
            ConfigError: two of them yield the same key, or one yields something else than a dict.
        """
        entered: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._live(entered), name="cifra-lifespans")
        return await entered

    async def leave(self) -> None:
        """Leave them, the last one first; what one raises comes out here."""
        self._must_leave.set()
        if self._task is not None:
            await self._task

    async def _live(self, entered: asyncio.Future[dict[str, Any]]) -> None:
        try:
            async with AsyncExitStack() as stack:
                context = await _merged(stack)
                entered.set_result(context)
                await self._must_leave.wait()
        except BaseException as error:
            if entered.done():
                raise
            entered.set_exception(error)


async def _merged(stack: AsyncExitStack) -> dict[str, Any]:
    context: dict[str, Any] = {}
    for lifespan in registered:
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
