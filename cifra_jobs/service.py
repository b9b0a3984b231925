"""The life of a background part, written as promises that one check holds every part to.

1. ``start()`` sets the part going on a thread of its own and returns; starting a running part
   changes nothing.
2. ``stop()`` returns when the part has stopped, whoever else is stopping it at the same time.
3. Stopping twice, or before the start, is harmless.
4. A stopped part can be started again.
5. ``stop()`` from the part's own thread only asks: a thread cannot wait for its own end.

`cifra_jobs.testing.services.exercise_service` checks them.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from cifra_jobs.log import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LoopService", "Service"]

_log = get_logger("cifra.service")


class Service(ABC):
    """A background part with one thread; the promises are in the module's docstring.

    Subclasses write ``run``, which must end soon after ``stopping`` is set.

    Args:
        name: name of the thread, as stack dumps show it.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()

    def start(self) -> None:
        """Set the part going; returns at once."""
        with self._lock:
            if self.is_running:
                return
            # A new event for each life: a late stop of the last one cannot end this one.
            self._stopping = threading.Event()
            self._thread = threading.Thread(
                target=self.run, args=(self._stopping,), name=self.name, daemon=True
            )
            self._thread.start()

    def stop(self) -> None:
        """Ask the part to stop and wait until it has."""
        with self._lock:
            thread, stopping = self._thread, self._stopping
        stopping.set()
        self.wake()
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def stopped(self, timeout_s: float | None = None) -> bool:
        """Wait until the part is not running; whether that came within ``timeout_s``."""
        thread = self._thread
        if thread is None:
            return True
        thread.join(timeout_s)
        return not thread.is_alive()

    def wake(self) -> None:  # noqa: B027 - a part that waits on nothing needs no waking
        """Interrupt what ``run`` waits on, so that it looks at ``stopping``."""

    @property
    def is_running(self) -> bool:
        """Whether the thread of this part lives."""
        return self._thread is not None and self._thread.is_alive()

    @abstractmethod
    def run(self, stopping: threading.Event) -> None:
        """The part's own thread: work until ``stopping`` is set."""


class LoopService(Service):
    """Calls ``tick`` every ``period_s`` seconds, first at the start, until it is stopped.

    A tick that raises is logged and the loop goes on: a heartbeat must outlive a bad moment.

    Args:
        name: name of the thread.
        period_s: seconds between two ticks.
        tick: the work; by default the method ``tick`` of a subclass.
        last: called once on the same thread after the last tick.
    """

    def __init__(
        self,
        name: str,
        period_s: float,
        tick: Callable[[], None] | None = None,
        *,
        last: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(name)
        self.period_s = period_s
        self._work = tick or self.tick
        self._last = last
        self._wakened = threading.Event()

    def tick(self) -> None:
        """The work of one round."""
        raise NotImplementedError(f"{type(self).__name__} was given no tick and defines none")

    def wake(self) -> None:
        """Do the next round now."""
        self._wakened.set()

    def run(self, stopping: threading.Event) -> None:
        """Tick, wait for the period or a wake, and again."""
        while not stopping.is_set():
            self._guard(self._work)
            self._wakened.wait(self.period_s)
            self._wakened.clear()
        if self._last is not None:
            self._guard(self._last)

    def _guard(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception:  # noqa: BLE001 - the loop outlives a bad round, which is logged
            _log.exception("a round of the service failed; it goes on", service=self.name)
