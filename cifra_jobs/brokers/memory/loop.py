"""One thread that makes calls for others: in order, now or at a moment."""

from __future__ import annotations

import heapq
import itertools
import threading
from collections import deque
from typing import TYPE_CHECKING

from cifra_jobs.log import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from cifra_jobs.clock import Clock

__all__ = ["Loop"]

_log = get_logger(__name__)


class Loop:
    """A thread that sleeps until there is a call to make; started by the first call.

    Args:
        name: of the thread.
        clock: what `call_at` goes by. One that can be moved by hand has a method ``on_jump``,
            and wakes the loop through it.
    """

    def __init__(self, name: str, clock: Clock) -> None:
        self._name = name
        self._clock = clock
        self._changed = threading.Condition()
        self._now: deque[Callable[[], None]] = deque()
        self._later: list[tuple[float, int, Callable[[], None]]] = []
        self._serial = itertools.count()
        self._thread: threading.Thread | None = None
        self._is_stopped = False
        on_jump = getattr(clock, "on_jump", None)
        if on_jump is not None:
            on_jump(self._wake)

    def call(self, function: Callable[[], None]) -> None:
        """Call it soon, after the calls asked for before. Dropped once the loop is stopped."""
        with self._changed:
            if not self._is_stopped:
                self._now.append(function)
                self._start_or_wake()

    def call_at(self, moment: float, function: Callable[[], None]) -> None:
        """Call it when the clock's ``monotonic`` reaches ``moment``. Dropped by `stop`."""
        with self._changed:
            if not self._is_stopped:
                heapq.heappush(self._later, (moment, next(self._serial), function))
                self._start_or_wake()

    def wait_for_calls(self, timeout_s: float) -> bool:
        """Wait until the calls asked for before are made; at once on the loop's own thread."""
        if threading.current_thread() is self._thread:
            return True
        passed = threading.Event()
        with self._changed:
            if self._thread is None or not self._thread.is_alive():
                return True
            self._now.append(passed.set)
            self._changed.notify()
        return passed.wait(timeout_s)

    def stop(self, timeout_s: float) -> None:
        """Make the calls that are due, then end the thread; waits for it up to ``timeout_s``."""
        with self._changed:
            self._is_stopped = True
            self._later.clear()
            self._changed.notify()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout_s)

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify()

    def _start_or_wake(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        self._changed.notify()

    def _run(self) -> None:
        while (function := self._next()) is not None:
            try:
                function()
            except Exception:  # noqa: BLE001 - one bad callback must not end it for all others
                _log.exception("a callback failed", thread=self._name)
            finally:
                # No reference to the last call, and all it holds, while waiting for the next.
                del function

    def _next(self) -> Callable[[], None] | None:
        with self._changed:
            while True:
                moment = self._clock.monotonic()
                if self._later and self._later[0][0] <= moment:
                    return heapq.heappop(self._later)[2]
                if self._now:
                    return self._now.popleft()
                if self._is_stopped:
                    return None
                self._changed.wait(self._later[0][0] - moment if self._later else None)
