"""`MemoryTransport`: the broker of tests, demonstrations and the embedded default."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

from cifra_jobs.brokers.base import QueueCounts, Transport
from cifra_jobs.brokers.memory.consumer import MemoryConsumer
from cifra_jobs.brokers.memory.core import Core
from cifra_jobs.brokers.memory.deadletters import MemoryDeadLetters
from cifra_jobs.brokers.memory.loop import Loop
from cifra_jobs.brokers.memory.queues import Queue
from cifra_jobs.clock import system_clock
from cifra_jobs.errors import BrokerError, BrokerUnavailable, TopologyMismatch, UnknownQueue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from cifra_jobs.brokers.base import Delivery, Publication
    from cifra_jobs.clock import Clock

__all__ = ["MemoryTransport"]


class HasPriorities(Protocol):
    """What a memory queue reads of its settings; the rest speaks of servers."""

    @property
    def priorities(self) -> int:
        """Levels above 0."""
        ...


@dataclass(slots=True, eq=False)
class _Batch:
    """A call of `publish` that waits for its confirms."""

    publications: Sequence[Publication]
    done: Callable[[list[BrokerError | None]], None]
    timeout_s: float
    is_done: bool = False


class MemoryTransport(Transport):
    """Queues in this process: priorities, prefetch, redelivery, delays, dead letters, confirms.

    Nothing outlives the process, and a forked child has no part in it. Tests can break and mend
    the connection, and lose confirms.

    Args:
        namespace: shown by `check`; two transports never share queues, whatever it says.
        queues: settings by queue name. They exist from the start.
        topology: ``auto``: `declare` makes a queue; ``verify``: it refuses all but ``queues``.
        clock: what delays go by.
    """

    def __init__(
        self,
        *,
        namespace: str = "cifra",
        queues: Mapping[str, HasPriorities] | None = None,
        topology: str = "auto",
        clock: Clock = system_clock,
    ) -> None:
        self._namespace = namespace
        self._settings = dict(queues or {})
        self._may_declare = topology == "auto"
        self._pid = os.getpid()
        self._core = Core(clock)
        # Confirms have a thread of their own: a consumer's callback may wait for them.
        self._confirms = Loop("memory-broker-confirms", clock)
        self._deadlines = Loop("memory-broker-deadlines", system_clock)
        self._consumers: list[MemoryConsumer] = []
        self._waiting: list[_Batch] = []
        self._lost_confirm_count = 0
        for name in self._settings:
            self._make(name)

    # The contract.

    def publish(
        self,
        publications: Sequence[Publication],
        done: Callable[[list[BrokerError | None]], None],
        *,
        timeout_s: float,
    ) -> None:
        """Publish a batch; while the connection is broken it waits, up to ``timeout_s``."""
        batch = _Batch(publications, done, timeout_s)
        if os.getpid() != self._pid:
            # None of this process's threads came along, and its locks may be held for ever.
            done(self._refusals(batch, "the in-memory broker stays in the process that made it"))
            return
        with self._core.lock:
            is_closed = self._core.is_closed
            if not is_closed and self._core.is_connected:
                self._accept(batch)
            elif not is_closed:
                self._waiting.append(batch)
                self._set_deadline(batch)
        if is_closed:
            done(self._refusals(batch, "this in-memory broker was closed"))

    def consume(
        self,
        queues: Mapping[str, int],
        on_deliveries: Callable[[list[Delivery]], None],
        on_lost: Callable[[list[str]], None] | None = None,
    ) -> MemoryConsumer:
        """Consume queues (name → prefetch, 0 for no limit), declaring them where allowed."""
        consumer = MemoryConsumer(self._core, queues, on_deliveries, on_lost)
        with self._core.lock:
            self._declare(queues)
            self._consumers = [other for other in self._consumers if not other.is_closed]
            self._consumers.append(consumer)
            if self._core.is_connected:
                consumer.open_channels()
        return consumer

    def declare(self, queues: Iterable[str], *, timeout_s: float = 10.0) -> None:  # noqa: ARG002
        """Make sure that these queues exist; says at once that the connection is broken."""
        with self._core.connected():
            self._declare(queues)

    def verify(self, queues: Iterable[str]) -> list[str]:
        """One sentence for each queue that does not exist."""
        with self._core.connected():
            missing = [name for name in queues if name not in self._core.queues]
        return [f"queue {name!r} does not exist" for name in missing]

    def known_queues(self) -> list[str]:
        """Every queue, by name."""
        with self._core.lock:
            return sorted(self._core.queues)

    def counts(self, queue: str) -> QueueCounts:
        """What the queue holds now; delayed messages are not ready yet."""
        with self._core.connected():
            held = self._core.queue(queue)
            return QueueCounts(queue, len(held.ready), held.consumer_count, len(held.dead))

    def purge(self, queue: str, *, dead: bool = False) -> int:
        """Drop every ready message of the queue (or all its dead); returns how many."""
        with self._core.connected():
            held = self._core.queue(queue)
            dropped = held.dead if dead else held.ready
            count = len(dropped)
            dropped.clear()
            self._core.feed(held)
        return count

    def check(self) -> dict[str, str]:
        """Facts for people."""
        return {
            "product": "memory",
            "version": "in process",
            "address": f"process {self._pid}",
            "namespace": self._namespace,
            "limits": "nothing outlives this process",
        }

    def dead_letters(self, queue: str) -> MemoryDeadLetters:
        """Browse, requeue and purge what died on this queue."""
        return MemoryDeadLetters(self._core, queue)

    def close(self, timeout_s: float = 5.0) -> None:
        """Close every consumer and end the threads; confirms under way are given first."""
        if os.getpid() != self._pid:
            return
        deadline = system_clock.monotonic() + timeout_s
        with self._core.lock:
            self._core.is_closed = True
            for batch in self._waiting:
                self._finish(batch, self._refusals(batch, "this in-memory broker was closed"))
            self._waiting.clear()
            consumers, self._consumers = self._consumers, []
        for consumer in consumers:
            consumer.close(max(0.0, deadline - system_clock.monotonic()))
        for loop in (self._core.delays, self._deadlines, self._confirms, self._core.deliveries):
            loop.stop(max(0.0, deadline - system_clock.monotonic()))

    # What only the in-memory broker can do.

    def delayed_count(self, queue: str) -> int:
        """Messages of the queue whose delay is not over."""
        with self._core.lock:
            return len(self._core.queue(queue).delayed)

    def waiting(self, queue: str) -> list[Publication]:
        """Messages of the queue that nobody has: delayed or ready, in the order of sending."""
        with self._core.lock:
            held = self._core.queue(queue)
            entries = {*held.delayed, *(entry for _, _, entry in held.ready)}
        return [entry.publication for entry in sorted(entries, key=lambda entry: entry.place)]

    def clear(self) -> None:
        """Drop what is ready, delayed or dead in every queue."""
        with self._core.lock:
            for queue in self._core.queues.values():
                for held in (queue.ready, queue.delayed, queue.dead):
                    held.clear()
                self._core.feed(queue)

    def wait_until_idle(self, queue: str, timeout_s: float) -> bool:
        """Wait until nothing of the queue is ready, delayed or unsettled; false at the timeout."""
        with self._core.lock:
            held = self._core.queue(queue)
            return self._core.lock.wait_for(lambda: held.is_idle, timeout_s)

    def break_connection(self) -> None:
        """Every consumer loses its channels, and nothing is accepted, until `mend_connection`."""
        with self._core.lock:
            self._core.is_connected = False
            for consumer in self._consumers:
                lost = consumer.lose_channels()
                if lost:
                    self._core.deliveries.call(partial(consumer.announce_loss, lost))

    def mend_connection(self) -> None:
        """Consumers get new channels; publications that still wait are accepted."""
        with self._core.lock:
            self._core.is_connected = True
            waiting, self._waiting = self._waiting, []
            for batch in waiting:
                self._accept(batch)
            for consumer in self._consumers:
                consumer.open_channels()

    def lose_confirms(self, batches: int = 1) -> None:
        """Accept the messages of the next batches, and never confirm them."""
        with self._core.lock:
            self._lost_confirm_count = batches

    # Private; all with the lock held.

    def _make(self, name: str) -> None:
        settings = self._settings.get(name)
        self._core.queues[name] = Queue(name, settings.priorities) if settings else Queue(name)

    def _declare(self, queues: Iterable[str]) -> None:
        missing = [name for name in queues if name not in self._core.queues]
        if missing and not self._may_declare:
            raise TopologyMismatch(
                f"queues that do not exist, and topology is 'verify': {', '.join(missing)}"
            )
        for name in missing:
            self._make(name)

    def _accept(self, batch: _Batch) -> None:
        results = [self._try(publication) for publication in batch.publications]
        if self._lost_confirm_count:
            self._lost_confirm_count -= 1
            self._set_deadline(batch)
        else:
            self._finish(batch, results)

    def _try(self, publication: Publication) -> BrokerError | None:
        try:
            self._core.accept(publication)
        except UnknownQueue as error:
            return error
        return None

    def _set_deadline(self, batch: _Batch) -> None:
        deadline = system_clock.monotonic() + batch.timeout_s
        self._deadlines.call_at(deadline, partial(self._give_up, batch))

    def _give_up(self, batch: _Batch) -> None:
        with self._core.lock:
            if batch in self._waiting:
                self._waiting.remove(batch)
            reason = f"the in-memory broker did not confirm within {batch.timeout_s:g} s"
            self._finish(batch, self._refusals(batch, reason))

    def _finish(self, batch: _Batch, results: list[BrokerError | None]) -> None:
        if not batch.is_done:
            batch.is_done = True
            self._confirms.call(partial(batch.done, results))

    @staticmethod
    def _refusals(batch: _Batch, reason: str) -> list[BrokerError | None]:
        return [BrokerUnavailable(reason) for _ in batch.publications]
