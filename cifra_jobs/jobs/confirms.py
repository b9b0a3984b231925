"""`Sending`: a batch of messages on its way, until RabbitMQ has confirmed it.

A ``concurrent.futures.Future`` would do, and costs a fifth of a send in its condition variable:
one is made, entered and left seven times for each message. This one takes a plain lock twice.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from cifra_jobs.log import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Sending"]

log = get_logger(__name__)


class Sending:
    """Done once all of its messages are confirmed, or one of them is not; cannot be taken back."""

    __slots__ = ("_calls", "_error", "_is_done", "_lock", "_task_id", "is_awaited")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: list[Callable[[Sending], None]] = []
        self._is_done = False
        self._error: BaseException | None = None
        self._task_id: str | None = None
        #: Somebody hears of a failure.
        self.is_awaited = False

    def done(self) -> bool:
        """Whether its fate is known."""
        return self._is_done

    def exception(self) -> BaseException | None:
        """Why it failed, once it is done."""
        return self._error

    def result(self, timeout: float | None = None) -> None:
        """Block until it is done; raises why it failed.

        Raises:
            TimeoutError: it is not done after ``timeout`` seconds.
        """
        self.is_awaited = True
        if not self._is_done:
            gate = threading.Lock()
            gate.acquire()
            self.add_done_callback(lambda _: gate.release())
            if not gate.acquire(timeout=-1 if timeout is None else timeout):
                raise TimeoutError(f"no confirm within {timeout} s")
        if self._error is not None:
            raise self._error

    def cancel(self) -> bool:
        """Nothing: it goes out whatever becomes of those who await it."""
        return False

    def add_done_callback(self, call: Callable[[Sending], None]) -> None:
        """Call ``call(self)`` once it is done, on the thread that finds out, or at once."""
        with self._lock:
            if not self._is_done:
                self._calls.append(call)
                return
        call(self)

    def log_if_unheard(self, task_id: str) -> None:
        """Nobody may come to await it: a failure that nobody hears of is logged as an error."""
        with self._lock:
            self._task_id = task_id
            is_late = self._is_done
        if is_late:
            self._log()

    def conclude(self, error: BaseException | None) -> None:
        """Tell its fate; called once."""
        with self._lock:
            self._error = error
            self._is_done = True
            calls, self._calls = self._calls, []
        if error is not None and self._task_id is not None:
            self._log()
        for call in calls:
            try:
                call(self)
            except Exception:
                log.exception("a callback of a send failed", callback=repr(call))

    def _log(self) -> None:
        if self._error is not None and not self.is_awaited:
            log.error(
                "send failed and nobody awaited it", task_id=self._task_id, error=str(self._error)
            )
