"""Slots: at most N attempts of this worker run at once, whichever executor runs them.

Attempts that wait for a slot are ordered by rank (lowest first), then by arrival. A thread that
has finished one takes the next itself; nobody is woken for it.
"""

from __future__ import annotations

import heapq
import itertools
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cifra_jobs.middleware.attempt import Attempt

__all__ = ["Dispatcher"]


class Dispatcher:
    """Gives slots to waiting attempts.

    Args:
        slots: how many attempts may run at once.
        start_async: starts attempts in the event loop; called with the lock free.
    """

    def __init__(self, slots: int, start_async: Callable[[list[Attempt]], None]) -> None:
        self._start_async = start_async
        self._lock = threading.Lock()
        self._has_work = threading.Condition(self._lock)
        self._heap: list[tuple[int, int, Attempt]] = []
        self._order = itertools.count()
        #: Slots free; below 0 while runs that lent theirs are back.
        self._free = slots
        self._for_threads: list[Attempt] = []
        self._waiting_thread_count = 0
        self._is_paused = False
        self._is_closed = False

    def offer(self, attempts: Sequence[Attempt]) -> None:
        """Attempts that may run."""
        with self._lock:
            for attempt in attempts:
                heapq.heappush(self._heap, (attempt.rank, next(self._order), attempt))
            for_loop = self._assign()
        self._start(for_loop)

    def take(self) -> Attempt | None:
        """The next attempt for the calling thread, which gets its slot; ``None``: end."""
        with self._lock:
            while not self._for_threads:
                if self._is_closed:
                    return None
                self._waiting_thread_count += 1
                self._has_work.wait()
                self._waiting_thread_count -= 1
            return self._for_threads.pop(0)

    def finished(self, count: int = 1) -> None:
        """Slots are free again."""
        with self._lock:
            self._free += count
            for_loop = self._assign()
        self._start(for_loop)

    def lend(self) -> None:
        """A run waits for another task: its slot may be used meanwhile."""
        self.finished(1)

    def reclaim(self) -> None:
        """The run goes on, at once; the next slot to free is not given away."""
        with self._lock:
            self._free -= 1

    def pause(self) -> None:
        """Start nothing more."""
        with self._lock:
            self._is_paused = True

    def resume(self) -> None:
        """Start what waits."""
        with self._lock:
            self._is_paused = False
            for_loop = self._assign()
        self._start(for_loop)

    def drain(self) -> list[Attempt]:
        """Take out everything that has not started; nothing starts any more."""
        with self._lock:
            self._is_paused = True
            waiting = [entry[2] for entry in self._heap] + self._for_threads
            self._free += len(self._for_threads)
            self._heap.clear()
            self._for_threads.clear()
            return waiting

    def waiting(self) -> list[Attempt]:
        """What has not started."""
        with self._lock:
            return [entry[2] for entry in self._heap] + self._for_threads

    def close(self) -> None:
        """Send the threads home once there is no more work for them."""
        with self._lock:
            self._is_closed = True
            self._has_work.notify_all()

    def _assign(self) -> list[Attempt]:
        for_loop: list[Attempt] = []
        heap = self._heap
        while heap and self._free > 0 and not self._is_paused:
            attempt = heapq.heappop(heap)[2]
            self._free -= 1
            if attempt.is_async:
                for_loop.append(attempt)
            else:
                self._for_threads.append(attempt)
                if self._waiting_thread_count:
                    self._has_work.notify()
        return for_loop

    def _start(self, for_loop: list[Attempt]) -> None:
        if for_loop:
            self._start_async(for_loop)
