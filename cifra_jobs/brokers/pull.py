"""`PullConsumer`: a queue as an iterator, which is how Dramatiq's own tools read one."""

from __future__ import annotations

import queue
from typing import TYPE_CHECKING, Any

from dramatiq.broker import Consumer as DramatiqConsumer
from dramatiq.broker import MessageProxy

from cifra_jobs.brokers.base import Publication
from cifra_jobs.errors import DecodeError
from cifra_jobs.jobs.message import decode

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cifra_jobs.brokers.base import Delivery, Transport

__all__ = ["PullConsumer", "PulledMessage"]

_LIMIT = 64 * 1024 * 1024
_CONFIRM_S = 10.0


class PulledMessage(MessageProxy):
    """A message and the delivery it came in."""

    def __init__(self, message: Any, delivery: Delivery) -> None:
        super().__init__(message)
        self.delivery = delivery


class PullConsumer(DramatiqConsumer):
    """Iterates over messages; ``None`` when none came in time. Not safe for many threads."""

    def __init__(
        self, transport: Transport, queue_name: str, *, prefetch: int, timeout_ms: int
    ) -> None:
        self._transport = transport
        self._timeout_s = timeout_ms / 1000
        self._arrived: queue.SimpleQueue[Delivery] = queue.SimpleQueue()
        self._consumer = transport.consume({queue_name: prefetch}, self._on_deliveries)

    def __next__(self) -> PulledMessage | None:
        """The next message, or ``None`` after the timeout; an undecodable one is dead-lettered."""
        while True:
            try:
                delivery = self._arrived.get(timeout=self._timeout_s)
            except queue.Empty:
                return None
            try:
                message = decode(delivery.body, delivery.content_encoding, limit=_LIMIT)
            except DecodeError:
                self._bury(delivery)
                continue
            return PulledMessage(message, delivery)

    def ack(self, message: Any) -> None:
        """Settle a message of this consumer; anything else is left alone."""
        if isinstance(message, PulledMessage):
            self._consumer.ack([message.delivery])

    def nack(self, message: Any) -> None:
        """Move a message to the dead-letter queue: published and confirmed, then acked."""
        if isinstance(message, PulledMessage):
            self._bury(message.delivery)

    def requeue(self, messages: Iterable[Any]) -> None:
        """Give messages back to the queue."""
        self._consumer.requeue([m.delivery for m in messages if isinstance(m, PulledMessage)])

    def close(self) -> None:
        """Stop; what is unsettled goes back to the queue."""
        self._consumer.close(_CONFIRM_S)

    def _on_deliveries(self, deliveries: list[Delivery]) -> None:
        for delivery in deliveries:
            self._arrived.put(delivery)

    def _bury(self, delivery: Delivery) -> None:
        confirmed: queue.SimpleQueue[Any] = queue.SimpleQueue()
        dead = Publication(
            delivery.queue,
            delivery.body,
            delivery.message_id or "",
            delivery.priority,
            dict(delivery.headers),
            delivery.content_encoding,
            is_dead=True,
        )
        self._transport.publish([dead], confirmed.put, timeout_s=_CONFIRM_S)
        (error,) = confirmed.get()
        if error is not None:
            raise error
        self._consumer.ack([delivery])
