"""What `MemoryTransport.consume` gives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cifra_jobs.brokers.base import Consumer
from cifra_jobs.brokers.memory.queues import Channel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from cifra_jobs.brokers.base import Delivery
    from cifra_jobs.brokers.memory.core import Core

__all__ = ["MemoryConsumer"]


class MemoryConsumer(Consumer):
    """Deliveries of some queues of a `MemoryTransport`; made by its ``consume``."""

    def __init__(
        self,
        core: Core,
        queues: Mapping[str, int],
        on_deliveries: Callable[[list[Delivery]], None],
        on_lost: Callable[[list[str]], None] | None,
    ) -> None:
        self._core = core
        self._prefetch = dict(queues)
        self._on_deliveries = on_deliveries
        self._on_lost = on_lost
        self._channels: dict[str, Channel] = {}
        self._paused: set[str] = set()
        self._arrived: list[Delivery] = []
        self._is_cancelled = False
        self.is_closed = False

    def ack(self, deliveries: Iterable[Delivery]) -> None:
        """Settle them."""
        with self._core.lock:
            for delivery in deliveries:
                channel: Channel = delivery.origin
                if channel.unsettled.pop(delivery.tag, None) is not None:
                    self._core.feed(channel.queue)

    def requeue(self, deliveries: Iterable[Delivery]) -> None:
        """Give back unrun, at the place it came from."""
        with self._core.lock:
            touched = set()
            for delivery in deliveries:
                channel: Channel = delivery.origin
                entry = channel.unsettled.pop(delivery.tag, None)
                if entry is not None:
                    channel.queue.put_back(entry)
                    touched.add(channel.queue)
            for queue in touched:
                self._core.feed(queue)

    def cancel(self, timeout_s: float) -> None:
        """Stop taking deliveries; what was delivered stays ours to settle."""
        with self._core.lock:
            self._is_cancelled = True
            for channel in self._channels.values():
                channel.is_consuming = False
                self._core.feed(channel.queue)
        # What had arrived is handed over before this returns.
        self._core.deliveries.wait_for_calls(timeout_s)

    def pause(self, queue: str) -> None:
        """Stop taking deliveries of one queue until ``resume``."""
        with self._core.lock:
            self._paused.add(queue)
            if queue in self._channels:
                self._channels[queue].is_consuming = False
                self._core.feed(self._channels[queue].queue)

    def resume(self, queue: str) -> None:
        """Take deliveries of the queue again."""
        with self._core.lock:
            self._paused.discard(queue)
            if queue in self._channels and not self._is_cancelled:
                self._channels[queue].is_consuming = True
                self._core.feed(self._channels[queue].queue)

    @property
    def is_connected(self) -> bool:
        """Whether every queue is consumed right now; a paused one counts as consumed."""
        with self._core.lock:
            return not self._is_cancelled and self._channels.keys() == self._prefetch.keys()

    def close(self, timeout_s: float) -> None:
        """Close; what is unsettled is redelivered, to others."""
        with self._core.lock:
            self._is_cancelled = True
            self.lose_channels()
            self.is_closed = True
        self._core.deliveries.wait_for_calls(timeout_s)

    def open_channels(self) -> None:
        """Begin to consume. The transport calls it, with the lock held."""
        if self.is_closed:
            return
        for name, prefetch in self._prefetch.items():
            if name not in self._channels:
                queue = self._core.queue(name)
                channel = Channel(queue, self._arrive, prefetch)
                channel.is_consuming = not self._is_cancelled and name not in self._paused
                self._channels[name] = channel
                queue.channels.append(channel)
                self._core.feed(queue)

    def lose_channels(self) -> list[str]:
        """Every channel closes, what is unsettled goes back; lock held. Returns the queues."""
        lost = list(self._channels)
        channels = list(self._channels.values())
        self._channels.clear()
        self._arrived.clear()
        for channel in channels:
            channel.close()
        for channel in channels:
            self._core.feed(channel.queue)
        return lost

    def announce_loss(self, queues: list[str]) -> None:
        """Tell whoever asked that the channels of these queues are gone."""
        if self._on_lost is not None:
            self._on_lost(queues)

    def _arrive(self, delivery: Delivery) -> None:
        # Handed over soon, with all that arrive until then: one call for a burst.
        self._arrived.append(delivery)
        if len(self._arrived) == 1:
            self._core.deliveries.call(self._hand_over)

    def _hand_over(self) -> None:
        with self._core.lock:
            arrived, self._arrived = self._arrived, []
        if arrived:
            self._on_deliveries(arrived)
