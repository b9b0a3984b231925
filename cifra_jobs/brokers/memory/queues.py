"""A queue as data: who is next, and who gets it. No threads, no locks: the transport holds one."""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cifra_jobs.brokers.base import Delivery

if TYPE_CHECKING:
    from collections.abc import Callable

    from cifra_jobs.brokers.base import Publication

__all__ = ["Channel", "Entry", "Queue"]

#: The highest priority of a publication.
_TOP_PRIORITY = 9


@dataclass(slots=True, eq=False)
class Entry:
    """A message that the broker holds."""

    publication: Publication
    #: Its place among those of its priority: kept when it comes back.
    place: int
    is_redelivered: bool = False

    def to_delivery(self, queue: str, origin: object, tag: int) -> Delivery:
        """One receipt of the message; its headers are the receiver's own."""
        publication = self.publication
        return Delivery(
            queue=queue,
            body=publication.body,
            message_id=publication.message_id,
            priority=publication.priority,
            headers=dict(publication.headers),
            content_encoding=publication.content_encoding,
            is_redelivered=self.is_redelivered,
            origin=origin,
            tag=tag,
        )


@dataclass(slots=True, eq=False)
class Channel:
    """One consumer's hold on one queue. Closed, it holds nothing to settle."""

    queue: Queue
    #: Where a delivery goes.
    arrive: Callable[[Delivery], None]
    #: How many unsettled deliveries it takes; 0 is no limit.
    prefetch: int
    is_consuming: bool = True
    last_tag: int = 0
    unsettled: dict[int, Entry] = field(default_factory=dict)

    @property
    def has_room(self) -> bool:
        """Whether the next message may go here."""
        return self.is_consuming and (not self.prefetch or len(self.unsettled) < self.prefetch)

    def take(self, entry: Entry) -> None:
        """Deliver it, and hold it until it is settled."""
        self.last_tag += 1
        self.unsettled[self.last_tag] = entry
        self.arrive(entry.to_delivery(self.queue.name, self, self.last_tag))

    def close(self) -> None:
        """Give back what is unsettled; it will be redelivered."""
        self.is_consuming = False
        for entry in self.unsettled.values():
            self.queue.put_back(entry)
        self.unsettled.clear()
        self.queue.channels.remove(self)


@dataclass(slots=True, eq=False)
class Queue:
    """Messages of one name: ready by priority, delayed, and dead."""

    name: str
    #: Levels above 0 that the queue knows.
    priorities: int = _TOP_PRIORITY
    ready: list[tuple[int, int, Entry]] = field(default_factory=list)
    delayed: set[Entry] = field(default_factory=set)
    dead: deque[Entry] = field(default_factory=deque)
    channels: deque[Channel] = field(default_factory=deque)

    def put(self, entry: Entry) -> None:
        """Make it ready, at its place."""
        asked = max(0, min(entry.publication.priority, _TOP_PRIORITY))
        # Rounded up, so that a queue of few levels still tells the urgent from the rest.
        level = -(-asked * self.priorities // _TOP_PRIORITY)
        heapq.heappush(self.ready, (-level, entry.place, entry))

    def put_back(self, entry: Entry) -> None:
        """Make it ready again, where it was."""
        entry.is_redelivered = True
        self.put(entry)

    def feed(self) -> None:
        """Hand ready messages to the channels with room, in turn."""
        while self.ready and (channel := self._next_channel()) is not None:
            channel.take(heapq.heappop(self.ready)[2])

    @property
    def consumer_count(self) -> int:
        """Channels that take deliveries now."""
        return sum(channel.is_consuming for channel in self.channels)

    @property
    def unsettled_count(self) -> int:
        """Deliveries under way."""
        return sum(len(channel.unsettled) for channel in self.channels)

    @property
    def is_idle(self) -> bool:
        """Nothing ready, nothing delayed, nothing under way."""
        return not (self.ready or self.delayed or self.unsettled_count)

    def _next_channel(self) -> Channel | None:
        for _ in range(len(self.channels)):
            channel = self.channels[0]
            self.channels.rotate(-1)
            if channel.has_room:
                return channel
        return None
