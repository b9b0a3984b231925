"""A clock that stands still until a test moves it."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import TYPE_CHECKING

from cifra_jobs.clock import now_ms

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["FakeClock"]


class FakeClock:
    """A `cifra_jobs.clock.Clock` for tests: no waiting, only jumps.

    Args:
        start_ms: milliseconds since the epoch at which it stands; now by default.
    """

    def __init__(self, start_ms: int | None = None) -> None:
        self._start_ms = now_ms() if start_ms is None else start_ms
        self._passed_s = 0.0
        self._watchers: list[Callable[[], None]] = []
        self._lock = threading.Lock()

    def now_ms(self) -> int:
        """Milliseconds since the epoch."""
        return self._start_ms + round(self._passed_s * 1000)

    def monotonic(self) -> float:
        """Seconds jumped since the clock was made."""
        return self._passed_s

    def jump(self, duration: float | timedelta) -> None:
        """Let time pass at once, and wake whatever waits on this clock.

        Args:
            duration: seconds, or a ``timedelta``; not negative.

        Raises:
            ValueError: it is negative: a monotonic clock does not go back.
        """
        seconds = duration.total_seconds() if isinstance(duration, timedelta) else duration
        if seconds < 0:
            raise ValueError(f"a clock cannot jump back, and {seconds:g} s is back")
        with self._lock:
            self._passed_s += seconds
            watchers = list(self._watchers)
        for watcher in watchers:
            watcher()

    def on_jump(self, callback: Callable[[], None]) -> None:
        """Call it after every jump: how a thread that waits on this clock is woken."""
        with self._lock:
            self._watchers.append(callback)
