"""One thread that calls functions at their time: deadlines, late writes, second tries."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from typing import TYPE_CHECKING

from cifra_jobs.log import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Timer", "Timers"]

log = get_logger(__name__)


class Timer:
    """A call that is due some time; ``cancel()`` takes it back."""

    __slots__ = ("call", "due")

    def __init__(self, due: float, call: Callable[[], None]) -> None:
        self.due = due
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        """Take it back; harmless after it has run."""
        self.call = None


class Timers:
    """Calls functions on a thread of its own. They must be brief."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._heap: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._thread: threading.Thread | None = None
        self._is_closed = False

    def call_later(self, seconds: float, call: Callable[[], None]) -> Timer:
        """Call ``call`` after so many seconds."""
        timer = Timer(time.monotonic() + seconds, call)
        with self._condition:
            heapq.heappush(self._heap, (timer.due, next(self._order), timer))
            if self._thread is None and not self._is_closed:
                self._thread = threading.Thread(target=self._run, name="cifra-timers", daemon=True)
                self._thread.start()
            elif self._heap[0][2] is timer:
                self._condition.notify()
        return timer

    def close(self) -> None:
        """Stop; what is not due yet is never called."""
        with self._condition:
            self._is_closed = True
            self._condition.notify()

    def _run(self) -> None:
        while True:
            timer = self._next_due()
            if timer is None:
                return
            call, timer.call = timer.call, None
            if call is None:
                continue
            try:
                call()
            except Exception:
                log.exception("a timed call failed", call=repr(call))

    def _next_due(self) -> Timer | None:
        with self._condition:
            while not self._is_closed:
                if not self._heap:
                    self._condition.wait()
                    continue
                wait = self._heap[0][0] - time.monotonic()
                if wait <= 0:
                    return heapq.heappop(self._heap)[2]
                self._condition.wait(wait)
            return None
