"""What a memory transport and its consumers share: the queues, one lock, the delivering threads."""

from __future__ import annotations

import contextlib
import itertools
import threading
from functools import partial
from typing import TYPE_CHECKING

from cifra_jobs.brokers.memory.loop import Loop
from cifra_jobs.brokers.memory.queues import Entry
from cifra_jobs.errors import BrokerUnavailable, UnknownQueue

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cifra_jobs.brokers.base import Publication
    from cifra_jobs.brokers.memory.queues import Queue
    from cifra_jobs.clock import Clock

__all__ = ["Core"]


class Core:
    """The broker's state. Every method but `connected` wants `lock` held.

    Attributes:
        lock: guards everything here; notified when a queue runs empty.
        queues: by name.
        deliveries: the thread that calls consumers.
        delays: the thread that releases delayed messages.
        is_connected: false while the "connection" is broken: then nothing is delivered.
        is_closed: for good.
    """

    def __init__(self, clock: Clock) -> None:
        self.lock = threading.Condition(threading.Lock())
        self.queues: dict[str, Queue] = {}
        self.deliveries = Loop("memory-broker-deliveries", clock)
        self.delays = Loop("memory-broker-delays", clock)
        self.is_connected = True
        self.is_closed = False
        self._clock = clock
        self._places = itertools.count()

    @contextlib.contextmanager
    def connected(self) -> Iterator[None]:
        """Hold the lock, with the connection up.

        Raises:
            BrokerUnavailable: it is broken or closed.
        """
        with self.lock:
            if self.is_closed or not self.is_connected:
                state = "closed" if self.is_closed else "broken"
                raise BrokerUnavailable(f"the connection to the in-memory broker is {state}")
            yield

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

    def accept(self, publication: Publication) -> None:
        """Take a message in: held for its delay, kept as dead, or ready at once.

        Raises:
            UnknownQueue: nobody declared its queue.
        """
        queue = self.queue(publication.queue)
        entry = Entry(publication, next(self._places))
        if publication.delay_ms > 0:
            queue.delayed.add(entry)
            due = self._clock.monotonic() + publication.delay_ms / 1000
            self.delays.call_at(due, partial(self._release, queue, entry))
        else:
            self._store(queue, entry)

    def feed(self, queue: Queue) -> None:
        """Deliver what can be delivered after a change of the queue."""
        if self.is_connected:
            queue.feed()
        if queue.is_idle:
            self.lock.notify_all()

    def _store(self, queue: Queue, entry: Entry) -> None:
        if entry.publication.is_dead:
            queue.dead.append(entry)
        else:
            queue.put(entry)
        self.feed(queue)

    def _release(self, queue: Queue, entry: Entry) -> None:
        with self.lock:
            if entry in queue.delayed:
                queue.delayed.remove(entry)
                # It queues up behind those that became ready while it was held.
                entry.place = next(self._places)
                self._store(queue, entry)
