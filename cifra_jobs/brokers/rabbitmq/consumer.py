"""Deliveries in, acks out: a connection for consuming alone, with one channel a queue.

A delivery knows the channel that brought it; its ack goes there or nowhere. A channel that the
broker closed, or whose consumer it cancelled, is replaced by a new one.
"""

from __future__ import annotations

import threading
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

from cifra_jobs.backoff import reconnect_delays
from cifra_jobs.brokers.base import Consumer, Delivery, Extension
from cifra_jobs.brokers.rabbitmq.connection import Connection
from cifra_jobs.brokers.rabbitmq.listener import ChannelRefused, Listener
from cifra_jobs.brokers.rabbitmq.properties import decode_properties
from cifra_jobs.brokers.rabbitmq.settling import Ledger
from cifra_jobs.log import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from cifra_jobs.brokers.rabbitmq.declaring import Declarer
    from cifra_jobs.brokers.rabbitmq.listener import ConnectionLost

__all__ = ["RabbitmqConsumer"]

_log = get_logger(__name__)

#: Strangers may send a higher one.
_TOP_PRIORITY = 9


class _Subscription:
    """One queue being consumed: the wish, and the channel that fulfils it for the time being."""

    def __init__(self, queue: str, prefetch: int) -> None:
        self.queue = queue
        self.prefetch = prefetch
        self.is_paused = False
        self.session: _Session | None = None
        self.is_opening = False
        self.delays = reconnect_delays()


class _Session:
    """One channel's life. Deliveries hold it as their origin."""

    __slots__ = ("channel", "is_consuming", "ledger", "number", "subscription", "tag")

    def __init__(self, subscription: _Subscription, channel: Any) -> None:
        self.subscription = subscription
        self.channel = channel
        self.number: int = channel.channel_number
        self.ledger = Ledger(self.number)
        self.tag: str | None = None
        self.is_consuming = False


class RabbitmqConsumer(Consumer, Listener):
    """Consumes queues until it is closed.

    Args:
        urls: addresses of the broker.
        queues: short name to prefetch.
        declarer: makes the queues exist.
        on_deliveries: gets all deliveries of one read.
        on_lost: is told the queues whose unsettled deliveries will come again.
        name: of the connection.
        heartbeat_s: of the connection.
    """

    def __init__(
        self,
        urls: Sequence[str],
        queues: Mapping[str, int],
        declarer: Declarer,
        *,
        on_deliveries: Callable[[list[Delivery]], None],
        on_lost: Callable[[list[str]], None] | None,
        name: str,
        heartbeat_s: int,
    ) -> None:
        self.connection = Connection(urls, name=name, heartbeat_s=heartbeat_s, listener=self)
        self._declarer = declarer
        self._on_deliveries = on_deliveries
        self._on_lost = on_lost
        self._subscriptions = [_Subscription(*each) for each in queues.items()]
        self._sessions: dict[int, _Session] = {}
        self._lost: list[str] = []
        self._read: list[Delivery] = []
        self._settlements: deque[tuple[list[Delivery], bool]] = deque()
        self._is_woken = False
        self._is_cancelled = False
        self._on_quiet: list[Callable[[], None]] = []

    # ── from any thread ──────────────────────────────────────────────────────────────────────────

    def ack(self, deliveries: Iterable[Delivery]) -> None:
        """Settle; what is handed in until the I/O thread wakes shares its frames."""
        self._settle(list(deliveries), is_ack=True)

    def requeue(self, deliveries: Iterable[Delivery]) -> None:
        """Give back unrun, at the place it came from."""
        self._settle(list(deliveries), is_ack=False)

    def cancel(self, timeout_s: float) -> None:
        """Stop taking deliveries; returns when the broker has agreed, or after the time."""
        agreed = threading.Event()
        if not self.connection.is_alive:
            return

        def stop() -> None:
            self._is_cancelled = True
            self._on_quiet.append(agreed.set)
            for session in self._sessions.values():
                self._unsubscribe(session)
            self._notice_quiet()

        self.connection.call(stop)
        if not self.connection.is_io_thread:
            agreed.wait(timeout_s)

    def pause(self, queue: str) -> None:
        """Stop taking deliveries of one queue until `resume`; nothing for an unknown queue."""
        self._set_all_paused([s for s in self._subscriptions if s.queue == queue], is_paused=True)

    def resume(self, queue: str) -> None:
        """Take deliveries of the queue again."""
        self._set_all_paused([s for s in self._subscriptions if s.queue == queue], is_paused=False)

    def extend(self, queues: Mapping[str, int]) -> Extension:
        """Take more, over channels of their own on the same connection."""
        added = [_Subscription(*each) for each in queues.items()]
        # One assignment: the I/O thread sees all of them or none.
        self._subscriptions = [*self._subscriptions, *added]
        self.connection.call(partial(self._open_all, added))
        return Extension(
            partial(self._set_all_paused, added, is_paused=True),
            partial(self._set_all_paused, added, is_paused=False),
        )

    def _set_all_paused(self, subscriptions: Sequence[_Subscription], *, is_paused: bool) -> None:
        """Pause or resume subscriptions, on the I/O thread."""
        for each in subscriptions:
            self.connection.call(partial(self._set_paused, each, is_paused=is_paused))

    @property
    def is_connected(self) -> bool:
        """Whether every queue that is not paused is consumed right now."""
        return self.connection.is_up and all(
            each.is_paused or (each.session is not None and each.session.is_consuming)
            for each in self._subscriptions
        )

    def close(self, timeout_s: float) -> None:
        """Flush the acks handed in, then close."""
        self._is_cancelled = True
        self.connection.call(self._flush)
        self.connection.close(timeout_s)

    # ── what happens on the connection ───────────────────────────────────────────────────────────

    def on_up(self) -> None:
        """Consume what is to be consumed."""
        self._open_all(self._subscriptions)

    def on_down(self, reason: str) -> None:  # noqa: ARG002 - the connection logs it
        """Tell of the lost channels, all at once."""
        self._tell_lost()

    def on_deliver(
        self, channel: int, tag: int, properties: bytes, body: bytes, *, is_redelivered: bool
    ) -> None:
        """Keep it until the read is through."""
        session = self._sessions.get(channel)
        if session is None:
            return
        try:
            encoding, headers, priority, message_id = decode_properties(properties)
        except ValueError as error:
            _log.warning("undecodable properties", queue=session.subscription.queue, error=error)
            encoding, headers, priority, message_id = None, {}, None, None
        self._read.append(
            Delivery(
                session.subscription.queue,
                body,
                message_id,
                min(priority or 0, _TOP_PRIORITY),
                headers,
                encoding,
                is_redelivered,
                session,
                tag,
            )
        )

    def on_read_end(self) -> None:
        """Hand over what was read, and send the acks that came in meanwhile."""
        if self._read:
            deliveries, self._read = self._read, []
            # Acks of this thread need no wake-up: they are sent below.
            self._is_woken = True
            try:
                self._on_deliveries(deliveries)
            except Exception:  # noqa: BLE001 - it is the caller's, and the thread is ours
                _log.exception("the taker of deliveries failed", count=len(deliveries))
        # In this order: who appends later sees the flag down and wakes the thread.
        self._is_woken = False
        if self._settlements:
            self._flush()

    # ── settling ─────────────────────────────────────────────────────────────────────────────────

    def _settle(self, deliveries: list[Delivery], *, is_ack: bool) -> None:
        self._settlements.append((deliveries, is_ack))
        if not self._is_woken:
            self._is_woken = True
            self.connection.call(self._flush)

    def _flush(self) -> None:
        self._is_woken = False
        tags: dict[tuple[_Session, bool], list[int]] = {}
        while self._settlements:
            deliveries, is_ack = self._settlements.popleft()
            for delivery in deliveries:
                key = (delivery.origin, is_ack)
                if key in tags:
                    tags[key].append(delivery.tag)
                else:
                    tags[key] = [delivery.tag]
        frames: list[bytes] = []
        for (session, is_ack), each in tags.items():
            # On another channel the same tag is somebody else's message.
            if self._sessions.get(session.number) is session and session.channel.is_open:
                frames += session.ledger.settle(each, is_ack=is_ack)
        if frames:
            self.connection.write(b"".join(frames))

    # ── channels ─────────────────────────────────────────────────────────────────────────────────

    def _open_all(self, subscriptions: Sequence[_Subscription]) -> None:
        for subscription in subscriptions:
            self._open(subscription)

    def _open(self, subscription: _Subscription) -> None:
        if (
            subscription.session is not None
            or subscription.is_opening
            or self._is_cancelled
            or not self.connection.is_up
        ):
            return
        subscription.is_opening = True

        def on_ensured(error: Exception | None) -> None:
            if error is None:
                self.connection.open_channel(on_open, partial(self._on_closed, subscription))
            else:
                subscription.is_opening = False
                self._open_later(subscription, error)

        def on_open(channel: Any) -> None:
            subscription.is_opening = False
            session = _Session(subscription, channel)
            subscription.session = self._sessions[session.number] = session
            channel.add_on_cancel_callback(partial(self._on_cancelled_by_broker, session))
            channel.basic_qos(prefetch_count=subscription.prefetch)
            if not subscription.is_paused and not self._is_cancelled:
                self._subscribe(session)

        self._declarer.ensure(self.connection, [subscription.queue], on_ensured)

    def _open_later(self, subscription: _Subscription, reason: Exception) -> None:
        if self._is_cancelled or not self.connection.is_up:
            return
        delay_s = next(subscription.delays)
        _log.warning(
            "cannot consume; trying again",
            queue=subscription.queue,
            reason=str(reason),
            retry_in_s=round(delay_s, 2),
        )
        self.connection.call_later(delay_s, partial(self._open, subscription))

    def _subscribe(self, session: _Session) -> None:
        subscription = session.subscription

        def on_consuming(_: Any) -> None:
            session.is_consuming = session.tag is not None
            subscription.delays = reconnect_delays()

        session.tag = session.channel.basic_consume(
            self._declarer.names.queue(subscription.queue),
            # Deliveries go past pika; those that come while it closes are for nobody.
            lambda *_: None,
            callback=on_consuming,
        )

    def _unsubscribe(self, session: _Session) -> None:
        tag, session.tag = session.tag, None
        if tag is None or not session.channel.is_open:
            return

        def on_agreed(_: Any) -> None:
            session.is_consuming = session.tag is not None
            self._notice_quiet()

        session.is_consuming = True
        session.channel.basic_cancel(tag, callback=on_agreed)

    def _set_paused(self, subscription: _Subscription, *, is_paused: bool) -> None:
        if subscription.is_paused == is_paused:
            return
        subscription.is_paused = is_paused
        session = subscription.session
        if session is None or not session.channel.is_open:
            return
        if is_paused:
            self._unsubscribe(session)
        elif not self._is_cancelled:
            self._subscribe(session)

    def _on_cancelled_by_broker(self, session: _Session, _: Any) -> None:
        # Staying on this channel would leave a consumer that is dead here and alive there.
        _log.warning("the broker cancelled the consumer", queue=session.subscription.queue)
        if session.channel.is_open:
            session.channel.close()

    def _on_closed(
        self, subscription: _Subscription, channel: Any, reason: ChannelRefused | ConnectionLost
    ) -> None:
        subscription.is_opening = False
        session = subscription.session
        if session is not None and session.channel is channel:
            subscription.session = None
            del self._sessions[session.number]
            self._lost.append(subscription.queue)
            self._read = [each for each in self._read if each.origin is not session]
            self._notice_quiet()
        # With the connection gone, `on_down` tells of all queues at once, and `on_up` opens them.
        if isinstance(reason, ChannelRefused):
            self._tell_lost()
            self._open_later(subscription, reason)

    def _tell_lost(self) -> None:
        lost, self._lost = self._lost, []
        if lost and self._on_lost is not None:
            try:
                self._on_lost(lost)
            except Exception:  # noqa: BLE001 - as above
                _log.exception("the taker of lost queues failed", queues=lost)

    def _notice_quiet(self) -> None:
        if self._is_cancelled and not any(each.is_consuming for each in self._sessions.values()):
            callbacks, self._on_quiet = self._on_quiet, []
            for callback in callbacks:
                callback()
