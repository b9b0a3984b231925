"""Runs that wait for other tasks lend their slot meanwhile, or are told that it could never end."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from cifra_jobs.errors import WouldDeadlock
from cifra_jobs.runtime.credit import Credit

if TYPE_CHECKING:
    from collections.abc import Callable

    from cifra_jobs.brokers.base import Extension
    from cifra_jobs.runtime.running import Running
    from cifra_jobs.runtime.worker import Worker

__all__ = ["Lending"]


class Lending:
    """The slots that waiting runs of a worker lend.

    Args:
        worker: whose slots.
        prefetch: how many deliveries it holds for each queue.
        ask_for_more: asks the broker for so many more of each queue.
    """

    def __init__(
        self, worker: Worker, prefetch: int, ask_for_more: Callable[[int], Extension]
    ) -> None:
        self._worker = worker
        self._credit = Credit(prefetch, ask_for_more)
        self._lock = threading.Lock()
        self._waiting_thread_count = 0

    def lend(self, running: Running, *, is_async: bool) -> None:
        """A run waits for another task: free its slot, and ask for one delivery more.

        Several waits of one run at a time lend its one slot.

        Raises:
            WouldDeadlock: it blocks the event loop, or a thread while every other slot is blocked
                the same way.
        """
        is_native = running.attempt.is_async
        if is_native and not is_async and self._worker.is_on_loop:
            raise WouldDeadlock(
                f"{running.request.task} blocks the event loop to wait for another task, and with"
                " it every async task of this worker; await handle.get() instead"
            )
        with self._lock:
            if not running.wait_count and not is_native:
                if self._waiting_thread_count + 1 >= self._worker.concurrency:
                    raise WouldDeadlock(
                        f"{running.request.task} waits inside a thread for another task, and all"
                        f" {self._worker.concurrency} slots of {self._worker.name} would wait the"
                        " same way; use an async task and await the handle, or on_success"
                    )
                self._waiting_thread_count += 1
            running.wait_count += 1
            is_lent = is_native and running.wait_count == 1
        if is_lent:
            self._credit.lend()
            self._worker.dispatcher.lend()

    def reclaim(self, running: Running) -> None:
        """The wait is over."""
        is_native = running.attempt.is_async
        with self._lock:
            running.wait_count -= 1
            if running.wait_count:
                return
            if not is_native:
                self._waiting_thread_count -= 1
        if is_native:
            self._credit.reclaim()
            self._worker.dispatcher.reclaim()
