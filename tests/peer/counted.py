"""A transport that knows when a queue is done: what is published and not yet acked.

Dramatiq's tests join queues. RabbitMQ has no event for "empty", and delayed messages are in no
count, so the joins of the fixtures are answered here, by what went through this process.
"""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

from cifra_jobs.brokers.base import Consumer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from cifra_jobs.brokers.base import Delivery, Extension, Publication, Transport


class Counted:
    """Passes everything on to a transport, and counts.

    Args:
        inner: the transport.
    """

    def __init__(self, inner: Transport) -> None:
        self.inner = inner
        self.changed = threading.Condition()
        #: Queue to message id to copies that are not acked.
        self.open: dict[str, Counter[str]] = {}
        #: Deliveries that are neither acked nor given back.
        self.held: set[int] = set()
        self.consumed: set[str] = set()
        self._consumers: list[tuple[Consumer, list[str]]] = []
        self._is_paused = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def publish(
        self, publications: Sequence[Publication], done: Callable[..., None], *, timeout_s: float
    ) -> None:
        """Publish; what is refused was never there."""
        counted = [each for each in publications if not each.is_dead]
        with self.changed:
            for each in counted:
                self.open.setdefault(each.queue, Counter())[each.message_id] += 1

        def on_done(errors: list[Any]) -> None:
            for each, error in zip(publications, errors, strict=True):
                if error is not None and not each.is_dead:
                    self.settle(each.queue, each.message_id)
            done(errors)

        self.inner.publish(publications, on_done, timeout_s=timeout_s)

    def consume(
        self,
        queues: Mapping[str, int],
        on_deliveries: Callable[[list[Delivery]], None],
        on_lost: Callable[[list[str]], None] | None = None,
    ) -> Consumer:
        """Consume; what is acked is done."""
        self.consumed |= set(queues)

        def hold(deliveries: list[Delivery]) -> None:
            with self.changed:
                self.held |= {id(each) for each in deliveries}
            on_deliveries(deliveries)

        consumer = self.inner.consume(queues, hold, on_lost)
        self._consumers.append((consumer, list(queues)))
        if self._is_paused:
            self.pause()
        return _CountedConsumer(self, consumer)

    def pause(self) -> None:
        """Take nothing more: what Dramatiq's worker does when it pauses."""
        self._is_paused = True
        for consumer, queues in self._consumers:
            for name in queues:
                consumer.pause(name)

    def resume(self) -> None:
        """Take messages again."""
        self._is_paused = False
        for consumer, queues in self._consumers:
            for name in queues:
                consumer.resume(name)

    def purge(self, queue: str, *, dead: bool = False) -> int:
        """Purge; what was ready is done, and so is all that waits for its time."""
        if not dead:
            with self.changed:
                self.open.pop(queue, None)
                self.changed.notify_all()
        return self.inner.purge(queue, dead=dead)

    def settle(self, queue: str, message_id: str | None) -> None:
        """One copy less."""
        with self.changed:
            copies = self.open.get(queue)
            if copies and message_id is not None and message_id in copies:
                copies[message_id] -= 1
                if not copies[message_id]:
                    del copies[message_id]
            self.changed.notify_all()

    def release(self, deliveries: Iterable[Delivery]) -> None:
        """Nobody works on them any more."""
        with self.changed:
            self.held -= {id(each) for each in deliveries}
            self.changed.notify_all()

    def wait_done(self, queue: str, timeout_s: float | None) -> bool:
        """Wait until every message of the queue is acked."""
        with self.changed:
            return self.changed.wait_for(lambda: not self.open.get(queue), timeout_s)

    def wait_idle(self, timeout_s: float | None) -> bool:
        """Wait until no delivery is under way."""
        with self.changed:
            return self.changed.wait_for(lambda: not self.held, timeout_s)


class _CountedConsumer(Consumer):
    def __init__(self, counted: Counted, inner: Consumer) -> None:
        self._counted = counted
        self._inner = inner

    def ack(self, deliveries: Iterable[Delivery]) -> None:
        acked = list(deliveries)
        self._inner.ack(acked)
        self._counted.release(acked)
        for each in acked:
            self._counted.settle(each.queue, each.message_id)

    def requeue(self, deliveries: Iterable[Delivery]) -> None:
        back = list(deliveries)
        self._inner.requeue(back)
        self._counted.release(back)

    def cancel(self, timeout_s: float) -> None:
        self._inner.cancel(timeout_s)

    def pause(self, queue: str) -> None:
        self._inner.pause(queue)

    def resume(self, queue: str) -> None:
        self._inner.resume(queue)

    def extend(self, queues: Mapping[str, int]) -> Extension:
        return self._inner.extend(queues)

    @property
    def is_connected(self) -> bool:
        return self._inner.is_connected

    def close(self, timeout_s: float) -> None:
        self._inner.close(timeout_s)
