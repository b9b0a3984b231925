"""Batches from all threads: taken in, watched for their deadlines, finished once."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

from cifra_jobs.clock import system_clock
from cifra_jobs.errors import BrokerError, BrokerUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from cifra_jobs.brokers.rabbitmq.batch import Batch
    from cifra_jobs.brokers.rabbitmq.connection import Connection

__all__ = ["Intake"]

#: How often deadlines are looked at, in seconds.
_TICK_S = 0.1

#: Messages that may wait at a time; a batch that comes when more wait is refused.
_MAX_WAITING = 100_000


class Intake:
    """The batches under way.

    Args:
        connection: whose thread works on them.
        admit: gets each new batch, on that thread.
        on_late: is called when batches were finished because their time was up.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        admit: Callable[[Batch], None],
        on_late: Callable[[], None],
    ) -> None:
        self._connection = connection
        self._admit = admit
        self._on_late = on_late
        self._inbox: deque[Batch] = deque()
        self._is_woken = False
        self._is_ticking = False
        self._live: dict[Batch, None] = {}
        self._live_count = 0
        self._on_idle: list[Callable[[], None]] = []

    # ── from any thread ──────────────────────────────────────────────────────────────────────────

    def put(self, batch: Batch) -> None:
        """Take a batch; those put before the thread wakes share one wake-up."""
        self._inbox.append(batch)
        if not self._connection.is_alive:
            self._refuse()
        elif not self._is_woken:
            self._is_woken = True
            self._connection.call(self._take)

    def close(self, timeout_s: float) -> None:
        """Wait for what is under way, at most so long, and close the connection; the rest fails."""
        idle = threading.Event()

        def watch() -> None:
            self._take()
            self._on_idle.append(idle.set)
            self._notice_idle()

        def give_up() -> None:
            self._take()
            for batch in list(self._live):
                self.finish(batch, self._unavailable("the transport was closed"))

        self._connection.call(watch)
        if not self._connection.is_io_thread:
            idle.wait(timeout_s)
        self._connection.call(give_up)
        self._connection.close(timeout_s)
        self._refuse()

    # ── on the I/O thread ────────────────────────────────────────────────────────────────────────

    def finish(self, batch: Batch, otherwise: BrokerError | None = None) -> None:
        """Tell the fates of a batch; ``otherwise`` is that of messages which have none yet."""
        if self._live.pop(batch, batch) is None:
            self._live_count -= len(batch.publications)
        batch.finish(otherwise)
        self._notice_idle()

    # ── private ──────────────────────────────────────────────────────────────────────────────────

    def _take(self) -> None:
        self._is_woken = False
        while self._inbox:
            batch = self._inbox.popleft()
            if self._live_count > _MAX_WAITING:
                batch.finish(self._unavailable(f"more than {_MAX_WAITING:,} messages wait already"))
            elif not batch.remaining:
                batch.finish()
            else:
                self._live[batch] = None
                self._live_count += batch.remaining
                self._admit(batch)
        if self._live and not self._is_ticking:
            self._is_ticking = True
            self._connection.call_later(_TICK_S, self._tick)

    def _tick(self) -> None:
        now = system_clock.monotonic()
        late = [batch for batch in self._live if batch.deadline <= now]
        for batch in late:
            self.finish(batch, self._unavailable(self._trouble()))
        if late:
            self._on_late()
        self._is_ticking = bool(self._live)
        if self._is_ticking:
            self._connection.call_later(_TICK_S, self._tick)

    def _refuse(self) -> None:
        while self._inbox:
            self._inbox.popleft().finish(self._unavailable("the transport was closed"))

    def _notice_idle(self) -> None:
        if self._on_idle and not self._live:
            callbacks, self._on_idle = self._on_idle, []
            for callback in callbacks:
                callback()

    def _trouble(self) -> str:
        if self._connection.trouble:
            return f"no connection ({self._connection.trouble})"
        if self._connection.is_blocked:
            return "it takes no publishes while it is short of memory or disk"
        return "no confirm came"

    def _unavailable(self, why: str) -> BrokerUnavailable:
        return BrokerUnavailable(
            f"RabbitMQ at {self._connection.address} did not confirm in time: {why}. The message "
            f"may or may not be in the queue; sending it again with the same id is harmless."
        )
