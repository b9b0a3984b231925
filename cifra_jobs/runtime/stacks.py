"""Where every thread and every coroutine of this process is right now, as text."""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import io
import sys
import threading
import traceback
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import signal
    from collections.abc import Iterable

__all__ = ["dump_on", "format_stacks"]


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
    for coroutine in _unfinished_tasks():
        text = io.StringIO()
        coroutine.print_stack(file=text)
        parts.append(text.getvalue().rstrip())
    return "\n".join(parts)


def _unfinished_tasks() -> list[asyncio.Task[object]]:
    # `asyncio.all_tasks` wants the loop, which is its thread's secret; a dump is rare, a search
    # through all objects is cheap enough for it.
    found = [each for each in gc.get_objects() if isinstance(each, asyncio.Task)]
    return [each for each in found if not each.done()]
