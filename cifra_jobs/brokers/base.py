"""The `Transport` contract: takes publications, gives deliveries, keeps dead letters.

Two makes, one conformance suite: `brokers/rabbitmq/transport.py` and `brokers/memory.py`.
Queue names here are the short ones (``default``); a transport adds the namespace.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from cifra_jobs.brokers.deadletters import DeadLetterBox
    from cifra_jobs.errors import BrokerError

__all__ = [
    "Consumer",
    "Delivery",
    "Extension",
    "Headers",
    "Publication",
    "QueueCounts",
    "Transport",
]

#: Strings and integers only: pika cannot encode floats.
Headers: TypeAlias = dict[str, Any]


@dataclass(slots=True)
class Publication:
    """One message on its way out."""

    queue: str
    body: bytes
    message_id: str
    #: 0..9, 9 first; a transport maps it to what the queue knows.
    priority: int = 0
    headers: Headers = field(default_factory=dict)
    content_encoding: str | None = None
    #: More than 0: held by the broker for so long, then delivered to ``queue``.
    delay_ms: int = 0
    #: A delay that may be rounded up (under 0.8 %) for fewer hops: retries and snoozes.
    is_roundable: bool = False
    #: To the dead-letter queue of ``queue`` instead of ``queue`` itself.
    is_dead: bool = False
    #: Shown by the management UI: the task's name.
    type_name: str | None = None


@dataclass(slots=True, eq=False)
class Delivery:
    """One receipt of a message. ``origin`` and ``tag`` belong to the transport."""

    queue: str
    body: bytes
    message_id: str | None
    priority: int
    headers: Headers
    content_encoding: str | None
    is_redelivered: bool
    origin: Any
    tag: int


@dataclass(slots=True, frozen=True)
class QueueCounts:
    """What a queue holds: ready to be delivered, its consumers, and its kept dead."""

    name: str
    ready: int
    consumers: int
    dead: int


@dataclass(frozen=True, slots=True)
class Extension:
    """What `Consumer.extend` added; what it delivered is settled through the consumer.

    Attributes:
        pause: take no more through it until ``resume``.
        resume: take deliveries through it again.
    """

    pause: Callable[[], None]
    resume: Callable[[], None]


class Consumer(ABC):
    """Deliveries in, settlements out.

    All methods are safe from any thread and do not block, except where they say so.
    A settlement of a delivery whose channel is gone is dropped: the broker redelivers it.
    """

    @abstractmethod
    def ack(self, deliveries: Iterable[Delivery]) -> None:
        """Settle; coalesced into as few frames as can be."""

    @abstractmethod
    def requeue(self, deliveries: Iterable[Delivery]) -> None:
        """Give back unrun, at the place it came from."""

    @abstractmethod
    def cancel(self, timeout_s: float) -> None:
        """Stop taking deliveries; returns when the broker has agreed, or after ``timeout_s``.

        What was delivered stays ours to ack or requeue.
        """

    @abstractmethod
    def pause(self, queue: str) -> None:
        """Stop taking deliveries of one queue until ``resume``."""

    @abstractmethod
    def resume(self, queue: str) -> None:
        """Take deliveries of the queue again."""

    @abstractmethod
    def extend(self, queues: Mapping[str, int]) -> Extension:
        """Take deliveries of more queues, or so many more at a time of those consumed already.

        Over the same connection; reconnects with it.
        """

    @property
    @abstractmethod
    def is_connected(self) -> bool:
        """Whether every queue is consumed right now; a paused one counts."""

    @abstractmethod
    def close(self, timeout_s: float) -> None:
        """Flush the acks handed in, then close; the broker redelivers what is unsettled."""


class Transport(ABC):
    """A broker, seen from a process."""

    @abstractmethod
    def publish(
        self,
        publications: Sequence[Publication],
        done: Callable[[list[BrokerError | None]], None],
        *,
        timeout_s: float,
    ) -> None:
        """Publish a batch; safe from any thread, never blocks for the confirms.

        ``done`` is called once, on the transport's own thread (be brief), with one entry for each
        publication: ``None`` for confirmed, else the error: `UnknownQueue` (returned as
        unroutable), `BrokerUnavailable` (no confirm within ``timeout_s``). A process that was
        forked gets a connection of its own.
        """

    @abstractmethod
    def consume(
        self,
        queues: Mapping[str, int],
        on_deliveries: Callable[[list[Delivery]], None],
        on_lost: Callable[[list[str]], None] | None = None,
    ) -> Consumer:
        """Consume queues (name → prefetch). Reconnects by itself, with back-off, for ever.

        ``on_deliveries`` gets all the deliveries of one read, on the transport's own thread.
        ``on_lost`` tells that the channels of these queues were lost: unsettled deliveries of them
        will be redelivered.
        """

    @abstractmethod
    def declare(self, queues: Iterable[str], *, timeout_s: float = 10.0) -> None:
        """Make sure that these queues, and what they need, exist. Idempotent, remembered.

        Args:
            queues: short names.
            timeout_s: how long to wait for the broker.

        Raises:
            BrokerUnavailable: the broker did not answer.
            TopologyMismatch: an entity exists with other arguments; the message names them.
        """

    @abstractmethod
    def verify(self, queues: Iterable[str]) -> list[str]:
        """Differences between what should exist for these queues and what does; empty is good."""

    @abstractmethod
    def known_queues(self) -> list[str]:
        """Queues declared by this process (and, where the broker can tell, those on the server)."""

    @abstractmethod
    def counts(self, queue: str) -> QueueCounts:
        """What the queue holds now.

        Raises:
            UnknownQueue: it does not exist.
        """

    @abstractmethod
    def purge(self, queue: str, *, dead: bool = False) -> int:
        """Drop every ready message of the queue (or of its dead-letter queue); returns how many."""

    @abstractmethod
    def check(self) -> dict[str, str]:
        """Facts for ``cifra doctor`` and the banner: product, version, address, limits."""

    @abstractmethod
    def dead_letters(self, queue: str) -> DeadLetterBox:
        """Browse, send again and throw away what died on this queue."""

    @abstractmethod
    def close(self, timeout_s: float = 5.0) -> None:
        """Wait for confirms under way (up to ``timeout_s``), then close the connections."""
