"""Ways to stop code that runs: an exception in a thread, and inside a coroutine."""

from __future__ import annotations

import asyncio
import ctypes
import threading
import types
from typing import TYPE_CHECKING, Any

from dramatiq.threading import Interrupt

from cifra_jobs.errors import SoftTimeout

if TYPE_CHECKING:
    from collections.abc import Generator

    from cifra_jobs.runtime.running import Running

__all__ = ["Shutdown", "clear_thread_exception", "interruptible"]


class Shutdown(Interrupt):
    """The worker must stop now; the attempt is given back, it has not failed.

    A ``BaseException``, so that a task's own ``except Exception`` lets it pass.
    """


def clear_thread_exception() -> None:
    """Take back an exception that was raised in this thread and has not arrived yet."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_long(threading.get_ident()), None)


@types.coroutine
def interruptible(coroutine: Any, running: Running) -> Generator[Any, Any, Any]:
    """Await a coroutine such that a soft time-out arrives inside it as `SoftTimeout`.

    ``Task.cancel()`` can only raise ``CancelledError``; driving the coroutine by hand lets us
    throw what its author expects instead, at the place where it awaits.
    """
    step, value = coroutine.send, None
    while True:
        try:
            yielded = step(value)
        except StopIteration as end:
            return end.value
        try:
            value = yield yielded
            step = coroutine.send
        except asyncio.CancelledError as cancelled:
            if running.is_soft_due and running.stop_reason is None:
                running.is_soft_due = False
                task = running.asyncio_task
                if task is not None:
                    task.uncancel()
                step, value = coroutine.throw, SoftTimeout("the soft timeout of the task is over")
            else:
                step, value = coroutine.throw, cancelled
        except BaseException as error:  # noqa: BLE001 - it belongs to the coroutine
            step, value = coroutine.throw, error
