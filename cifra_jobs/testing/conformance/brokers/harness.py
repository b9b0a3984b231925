"""What the suite of transports works with: a harness for the make, and its own eyes and hands."""

from __future__ import annotations

import threading
import uuid
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from cifra_jobs.brokers.base import Publication

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cifra_jobs.brokers.base import Consumer, Delivery, Transport
    from cifra_jobs.errors import BrokerError

__all__ = [
    "PATIENCE_S",
    "Receiver",
    "TransportHarness",
    "make",
    "publish",
    "publish_bodies",
]

#: Seconds for anything that should happen at once.
PATIENCE_S = 20.0


class TransportHarness(ABC):
    """What the suite needs to know of a make: how to open one, and how to hurt it."""

    @abstractmethod
    def open(self) -> Transport:
        """A transport of its own namespace; queues are declared as they are named."""

    @abstractmethod
    def cut(self) -> None:
        """Cut every connection of the transport, once; it may come back at once."""


class Receiver:
    """Gathers what a consumer is given; every wait has an end."""

    def __init__(
        self, transport: Transport, queues: dict[str, int], *, accept: bool = False
    ) -> None:
        self._changed = threading.Condition()
        self._accept = accept
        self.deliveries: list[Delivery] = []
        self.lost: list[str] = []
        # Deliveries can come before `consume` has returned.
        self._ready = threading.Event()
        self.consumer: Consumer = transport.consume(queues, self._on_deliveries, self._on_lost)
        self._ready.set()

    def bodies(self) -> list[bytes]:
        """Bodies in the order of their arrival."""
        with self._changed:
            return [delivery.body for delivery in self.deliveries]

    def wait_for(self, count: int) -> list[Delivery]:
        """Wait until ``count`` deliveries have come in all, and give them."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.deliveries) >= count, PATIENCE_S):
                raise AssertionError(f"{len(self.deliveries)} of {count} deliveries came")
            return list(self.deliveries)

    def wait_for_loss(self) -> list[str]:
        """Wait until channels were lost; their queues."""
        with self._changed:
            if not self._changed.wait_for(lambda: self.lost, PATIENCE_S):
                raise AssertionError("no loss of channels was told")
            return list(self.lost)

    def _on_deliveries(self, deliveries: list[Delivery]) -> None:
        if self._accept:
            self._ready.wait(PATIENCE_S)
            self.consumer.ack(deliveries)
        with self._changed:
            self.deliveries += deliveries
            self._changed.notify_all()

    def _on_lost(self, queues: list[str]) -> None:
        with self._changed:
            self.lost += queues
            self._changed.notify_all()


def make(queue: str, body: bytes = b"{}", **fields: Any) -> Publication:
    """A publication with an id of its own."""
    return Publication(queue=queue, body=body, message_id=uuid.uuid4().hex, **fields)


def publish(
    transport: Transport, *publications: Publication, timeout_s: float = 5.0
) -> list[BrokerError | None]:
    """Publish a batch and wait for what becomes of each."""
    results: list[list[BrokerError | None]] = []
    finished = threading.Event()

    def done(errors: list[BrokerError | None]) -> None:
        results.append(errors)
        finished.set()

    transport.publish(publications, done, timeout_s=timeout_s)
    if not finished.wait(timeout_s + PATIENCE_S):
        raise AssertionError("done was not called")
    assert len(results) == 1
    return results[0]


def publish_bodies(transport: Transport, queue: str, bodies: Sequence[bytes]) -> None:
    """Publish a batch of bodies to a queue, all of which must be confirmed."""
    assert publish(transport, *(make(queue, body) for body in bodies)) == [None] * len(bodies)
