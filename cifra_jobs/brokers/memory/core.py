"""What a memory transport and its consumers share: the queues, one lock, one delivering thread."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from cifra_jobs.brokers.memory.loop import Loop
from cifra_jobs.errors import UnknownQueue

if TYPE_CHECKING:
    from cifra_jobs.brokers.memory.queues import Queue
    from cifra_jobs.clock import Clock

__all__ = ["Core"]


class Core:
    """The broker's state. Every method wants `lock` held.

    Attributes:
        lock: guards everything here; notified when a queue runs empty and when the connection
            changes.
        queues: by name.
        deliveries: the thread that calls consumers.
        is_connected: false while the "connection" is broken: then nothing is delivered.
    """

    def __init__(self, clock: Clock) -> None:
        self.lock = threading.Condition(threading.Lock())
        self.queues: dict[str, Queue] = {}
        self.deliveries = Loop("memory-broker-deliveries", clock)
        self.is_connected = True

    def queue(self, name: str) -> Queue:
        """The queue of that name.

        Raises:
            UnknownQueue: nobody declared it.
        """
        queue = self.queues.get(name)
        if queue is None:
            known = ", ".join(sorted(self.queues)) or "none"
            raise UnknownQueue(f"there is no queue {name!r}; queues that exist: {known}")
        return queue

    def feed(self, queue: Queue) -> None:
        """Deliver what can be delivered after a change of the queue."""
        if self.is_connected:
            queue.feed()
        if queue.is_idle:
            self.lock.notify_all()
