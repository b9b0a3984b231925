"""Deliveries asked for beyond the prefetch, while runs wait for other tasks.

A run that awaits a handle has lent its slot, but its own delivery still counts against the
prefetch: at concurrency 1 the task that it waits for would never be delivered. So as many more
are asked for as runs wait; the extra is doubled when it is used up, and rests when nobody waits.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from cifra_jobs.brokers.base import Extension

__all__ = ["Credit"]


class Credit:
    """Extra prefetch of a worker.

    Args:
        first: how much the first extension adds.
        extend: asks the broker for so many more deliveries of each queue.
    """

    def __init__(self, first: int, extend: Callable[[int], Extension]) -> None:
        self._first = first
        self._extend = extend
        self._lock = threading.Lock()
        self._lent = 0
        self._extensions: list[tuple[int, Extension]] = []
        self._active = 0

    def lend(self) -> None:
        """One more run waits."""
        with self._lock:
            self._lent += 1
            while sum(size for size, _ in self._extensions[: self._active]) < self._lent:
                if self._active == len(self._extensions):
                    size = self._first * 2 ** len(self._extensions)
                    self._extensions.append((size, self._extend(size)))
                else:
                    self._extensions[self._active][1].resume()
                self._active += 1

    def reclaim(self) -> None:
        """It goes on."""
        with self._lock:
            self._lent -= 1
            if self._lent == 0:
                for _, extension in self._extensions[: self._active]:
                    extension.pause()
                self._active = 0
