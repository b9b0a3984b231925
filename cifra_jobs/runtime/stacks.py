"""Where every thread and every coroutine of this process is right now, as text."""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import sys
import threading
import traceback
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import signal
    from collections.abc import Iterable

__all__ = ["dump_on", "format_stacks"]

#: Coroutines in one dump; a loop may hold thousands, most of them at the same place.
_TASKS_SHOWN = 200
#: How coroutines, generators and async generators name their attributes.
_KINDS = ("cr", "gi", "ag")


def dump_on(signals: Iterable[signal.Signals]) -> None:
    """Write the threads' stacks to stderr at these signals, even while the interpreter is stuck.

    Call it after a handler was set for them: that one is called as well, and can add what only
    Python code can know (`format_stacks`). Without a stderr nothing is written.
    """
    if sys.__stderr__ is None:
        return
    for number in signals:
        faulthandler.register(number, file=sys.__stderr__, all_threads=True, chain=True)


def format_stacks() -> str:
    """Stacks of all threads, then of all unfinished asyncio tasks."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    parts: list[str] = []
    for ident, frame in sys._current_frames().items():  # noqa: SLF001 - documented for debuggers
        parts.append(f"thread {names.get(ident, '?')} ({ident})")
        parts.append("".join(traceback.format_stack(frame)).rstrip())
    tasks = _unfinished_tasks()
    for task in tasks[:_TASKS_SHOWN]:
        parts.append(f"coroutine {task.get_name()}")
        parts.append("".join(traceback.format_list(_awaits(task))).rstrip())
    if len(tasks) > _TASKS_SHOWN:
        parts.append(f"and {len(tasks) - _TASKS_SHOWN} more coroutines")
    return "\n".join(parts)


def _awaits(task: asyncio.Task[object]) -> list[traceback.FrameSummary]:
    """Where a task is, down to the innermost await: `Task.get_stack` knows the outermost only."""
    found: list[traceback.FrameSummary] = []
    each: Any = task.get_coro()
    while each is not None:
        kind = next((k for k in _KINDS if hasattr(each, f"{k}_frame")), None)
        if kind is None:
            break
        frame = getattr(each, f"{kind}_frame")
        if frame is not None:
            found += traceback.extract_stack(frame, limit=1)
        each = getattr(each, "gi_yieldfrom" if kind == "gi" else f"{kind}_await")
    return found


def _unfinished_tasks() -> list[asyncio.Task[object]]:
    # `asyncio.all_tasks` wants the loop, which is its thread's secret; a dump is rare, a search
    # through all objects is cheap enough for it.
    found = [each for each in gc.get_objects() if isinstance(each, asyncio.Task)]
    return [each for each in found if not each.done()]
