"""What `MemoryTransport.consume` gives."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from cifra_jobs.brokers.base import Consumer, Extension
from cifra_jobs.brokers.memory.queues import Channel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from cifra_jobs.brokers.base import Delivery
    from cifra_jobs.brokers.memory.core import Core

__all__ = ["MemoryConsumer"]


@dataclass(slots=True, eq=False)
class _Subscription:
    """One queue being consumed: the wish, and the channel that fulfils it for the time being."""

    queue: str
    prefetch: int
    is_paused: bool = False
    channel: Channel | None = None


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
        self._subscriptions = [_Subscription(*each) for each in queues.items()]
        self._on_deliveries = on_deliveries
        self._on_lost = on_lost
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
            for channel in self._channels:
                channel.is_consuming = False
                self._core.feed(channel.queue)
        # What had arrived is handed over before this returns.
        self._core.deliveries.wait_for_calls(timeout_s)

    def pause(self, queue: str) -> None:
        """Stop taking deliveries of one queue until ``resume``."""
        self._set_paused([s for s in self._subscriptions if s.queue == queue], is_paused=True)

    def resume(self, queue: str) -> None:
        """Take deliveries of the queue again."""
        self._set_paused([s for s in self._subscriptions if s.queue == queue], is_paused=False)

    def extend(self, queues: Mapping[str, int]) -> Extension:
        """Take more, over channels of their own."""
        added = [_Subscription(*each) for each in queues.items()]
        with self._core.lock:
            self._subscriptions += added
            self.open_channels()
        return Extension(
            partial(self._set_paused, added, is_paused=True),
            partial(self._set_paused, added, is_paused=False),
        )

    def _set_paused(self, subscriptions: list[_Subscription], *, is_paused: bool) -> None:
        """Pause or resume subscriptions."""
        with self._core.lock:
            for each in subscriptions:
                each.is_paused = is_paused
                if each.channel is not None:
                    each.channel.is_consuming = not is_paused and not self._is_cancelled
                    self._core.feed(each.channel.queue)

    @property
    def is_connected(self) -> bool:
        """Whether every queue is consumed right now; a paused one counts as consumed."""
        with self._core.lock:
            return not self._is_cancelled and all(s.channel for s in self._subscriptions)

    @property
    def _channels(self) -> list[Channel]:
        return [s.channel for s in self._subscriptions if s.channel is not None]

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
        for each in self._subscriptions:
            if each.channel is None:
                queue = self._core.queue(each.queue)
                each.channel = channel = Channel(queue, self._arrive, each.prefetch)
                channel.is_consuming = not self._is_cancelled and not each.is_paused
                queue.channels.append(channel)
                self._core.feed(queue)

    def lose_channels(self) -> list[str]:
        """Every channel closes, what is unsettled goes back; lock held. Returns the queues."""
        channels = self._channels
        for each in self._subscriptions:
            each.channel = None
        self._arrived.clear()
        for channel in channels:
            channel.close()
        for channel in channels:
            self._core.feed(channel.queue)
        return list(dict.fromkeys(channel.queue.name for channel in channels))

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
