"""Publications out, confirms in: many at once, and the fate of each is told.

All the state belongs to the I/O thread. A batch waits, is written as far as the window of
unconfirmed messages has room, and ends when each of its messages is confirmed, refused, or late.
What was unconfirmed when a channel or the connection was lost is written again, under the same
message id.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from cifra_jobs.backoff import exponential
from cifra_jobs.brokers.rabbitmq.connection import (
    ChannelRefused,
    Connection,
    ConnectionLost,
    Listener,
)
from cifra_jobs.brokers.rabbitmq.envelope import Envelope, parse_version
from cifra_jobs.clock import now_ms, system_clock
from cifra_jobs.errors import BrokerError, BrokerUnavailable, UnknownQueue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from cifra_jobs.brokers.rabbitmq.batch import Batch
    from cifra_jobs.brokers.rabbitmq.declaring import Declarer

__all__ = ["Publisher"]

_log = structlog.get_logger(__name__)

#: How often deadlines are looked at, in seconds.
_TICK_S = 0.1

#: Bytes handed to the socket in one go, and what may wait there before more is written.
_CHUNK_BYTES = 1 << 18
_UNSENT_BYTES = 4 << 20

#: Messages that may wait at a time; a batch that comes when more wait is refused.
_MAX_WAITING = 100_000

#: How long the other confirms are waited for before a channel that refused is replaced.
_DRAIN_S = 1.0

#: First and longest pause after a refusal, in seconds.
_PAUSE_S, _MAX_PAUSE_S = 0.05, 1.0

_NOT_FOUND = 404


class Publisher(Listener):
    """Publishes batches over one channel with confirms.

    Args:
        urls: addresses of the broker.
        declarer: says what exists, and makes it exist again.
        name: of the connection.
        heartbeat_s: of the connection.
        window: how many messages may be unconfirmed at a time.
    """

    def __init__(
        self, urls: Sequence[str], declarer: Declarer, *, name: str, heartbeat_s: int, window: int
    ) -> None:
        self.connection = Connection(urls, name=name, heartbeat_s=heartbeat_s, listener=self)
        self._declarer = declarer
        self._window = window
        self._envelope = Envelope(declarer)
        self._inbox: deque[Batch] = deque()
        self._is_woken = False
        self._is_ticking = False
        self._live: dict[Batch, None] = {}
        self._live_count = 0
        self._waiting: deque[tuple[Batch, Iterator[int]]] = deque()
        self._unconfirmed: dict[int, tuple[Batch, int]] = {}
        self._on_idle: list[Callable[[], None]] = []
        self._channel: Any = None
        self._next_tag = self._lowest_tag = 1
        #: Queues that others declared, found to exist when something was delayed for them.
        self._seen: set[str] = set()
        #: Tags of what was returned as unroutable; the confirm of each is still to come.
        self._returned: set[int] = set()
        #: The channel refused a message, and is replaced when its other confirms are in.
        self._is_stale = False
        #: So many messages go one by one, to find the one that the broker closes the channel for.
        self._careful_count = 0

    # ── from any thread ──────────────────────────────────────────────────────────────────────────

    def publish(self, batch: Batch) -> None:
        """Take a batch; it is finished when all is known."""
        self._inbox.append(batch)
        if not self._is_woken:
            self._is_woken = True
            self.connection.call(self._take)

    def when_idle(self, callback: Callable[[], None]) -> None:
        """Call it, on the I/O thread, once nothing is under way."""

        def ask() -> None:
            self._take()
            self._on_idle.append(callback)
            self._notice_idle()

        self.connection.call(ask)

    # ── what happens on the connection ───────────────────────────────────────────────────────────

    def on_up(self) -> None:
        """Make sure that what this process declared is still there, then go on."""
        self._restore()

    def on_blocked(self, *, is_blocked: bool) -> None:
        """Go on when the alarm is over."""
        if not is_blocked:
            self._pump()

    def on_confirm(self, channel: int, tag: int, *, is_multiple: bool, is_ack: bool) -> None:
        """Settle one message, or all up to this one."""
        if self._channel is None or channel != self._channel.channel_number:
            return
        tags: Iterable[int] = (tag,)
        if is_multiple:
            tags = range(self._lowest_tag, tag + 1)
            self._lowest_tag = tag + 1
        pop = self._unconfirmed.pop
        refused: list[tuple[Batch, int]] = []
        for each in tags:
            entry = pop(each, None)
            if entry is None:
                continue
            if not is_ack:
                refused.append(entry)
            elif self._returned and each in self._returned:
                self._returned.discard(each)
                self._on_unroutable(*entry)
            elif entry[0].settle(entry[1]):
                self._finish(entry[0])
        if refused:
            self._on_refused(refused)
        if self._careful_count:
            self._careful_count -= 1

    def on_read_end(self) -> None:
        """There may be room in the window."""
        if self._is_stale:
            if not self._unconfirmed:
                self._close_channel()
        elif self._waiting:
            self._pump()

    # ── batches ──────────────────────────────────────────────────────────────────────────────────

    def _take(self) -> None:
        self._is_woken = False
        while self._inbox:
            batch = self._inbox.popleft()
            if self._live_count > _MAX_WAITING:
                batch.finish(self._unavailable(f"more than {_MAX_WAITING:,} messages wait already"))
            elif not batch.remaining:
                batch.finish()
            else:
                self._live[batch] = None
                self._live_count += batch.remaining
                self._admit(batch)
        if self._live and not self._is_ticking:
            self._is_ticking = True
            self.connection.call_later(_TICK_S, self._tick)
        self._pump()

    def _admit(self, batch: Batch) -> None:
        batch.strangers -= self._seen
        if not batch.strangers:
            self._waiting.append((batch, iter(range(len(batch.publications)))))
            self._pump()
            return
        queue = next(iter(batch.strangers))

        def on_answer(error: Exception | None) -> None:
            if isinstance(error, ConnectionLost):
                self.connection.when_up(look)
                return
            if isinstance(error, ChannelRefused) and error.code == _NOT_FOUND:
                unknown = self.unknown_queue(queue)
                for index, publication in enumerate(batch.publications):
                    if publication.queue == queue and batch.settle(index, unknown):
                        self._finish(batch)
            else:
                # A user who may not look at the queue may well publish to it.
                self._seen.add(queue)
            batch.strangers.discard(queue)
            self._admit(batch)

        def look() -> None:
            if not batch.is_over:
                name = self._declarer.names.queue(queue)
                self.connection.converse(
                    lambda channel: channel.queue_declare(name, passive=True), on_answer
                )

        self.connection.when_up(look)

    def _tick(self) -> None:
        now = system_clock.monotonic()
        late = [batch for batch in self._live if batch.deadline <= now]
        for batch in late:
            self._finish(batch, self._unavailable(self._trouble()))
        if late:
            # An outage may be long, and each send of it would stay here.
            self._waiting = deque(each for each in self._waiting if not each[0].is_over)
        self._is_ticking = bool(self._live)
        if self._is_ticking:
            self.connection.call_later(_TICK_S, self._tick)

    def _trouble(self) -> str:
        if self.connection.trouble:
            return f"no connection ({self.connection.trouble})"
        if self.connection.is_blocked:
            return "it takes no publishes while it is short of memory or disk"
        return "no confirm came"

    def _unavailable(self, why: str) -> BrokerUnavailable:
        return BrokerUnavailable(
            f"RabbitMQ at {self.connection.address} did not confirm in time: {why}. The message "
            f"may or may not be in the queue; sending it again with the same id is harmless."
        )

    def _finish(self, batch: Batch, otherwise: BrokerError | None = None) -> None:
        if self._live.pop(batch, batch) is None:
            self._live_count -= len(batch.publications)
        batch.finish(otherwise)
        self._notice_idle()

    def _notice_idle(self) -> None:
        if self._on_idle and not self._live:
            callbacks, self._on_idle = self._on_idle, []
            for callback in callbacks:
                callback()

    # ── writing ──────────────────────────────────────────────────────────────────────────────────

    def _pump(self) -> None:
        connection, waiting = self.connection, self._waiting
        window = 1 if self._careful_count else self._window
        now_s = now_ms() // 1000
        while (
            waiting
            and self._channel is not None
            and not self._is_stale
            and not connection.is_blocked
            and len(self._unconfirmed) < window
            and (connection.unsent_bytes < _UNSENT_BYTES or not self._unconfirmed)
        ):
            pieces = self._pieces(window - len(self._unconfirmed), now_s)
            if pieces:
                connection.write(b"".join(pieces))

    def _pieces(self, room: int, now_s: int) -> list[bytes]:
        batch, indexes = self._waiting[0]
        pieces: list[bytes] = []
        size = 0
        tag, unconfirmed, frames = self._next_tag, self._unconfirmed, self._envelope.frames
        if not batch.is_over:
            for index in indexes:
                if not batch.is_open(index):
                    continue
                try:
                    data = frames(batch.publications[index], now_s)
                except BrokerError as error:
                    if batch.settle(index, error):
                        self._finish(batch)
                    continue
                unconfirmed[tag] = (batch, index)
                tag += 1
                pieces.append(data)
                size += len(data)
                if len(pieces) >= room or size > _CHUNK_BYTES:
                    self._next_tag = tag
                    return pieces
        self._next_tag = tag
        self._waiting.popleft()
        return pieces

    def _again(self, entries: Iterable[tuple[Batch, int]]) -> None:
        """Put messages back to the front, in their order."""
        groups: list[tuple[Batch, list[int]]] = []
        for batch, index in entries:
            if groups and groups[-1][0] is batch:
                groups[-1][1].append(index)
            elif not batch.is_over:
                groups.append((batch, [index]))
        self._waiting.extendleft((batch, iter(indexes)) for batch, indexes in reversed(groups))

    # ── refused, returned ────────────────────────────────────────────────────────────────────────

    def _on_refused(self, entries: list[tuple[Batch, int]]) -> None:
        # A 3.10 broker whose leader died goes on refusing on this channel for as long as the dead
        # node is away, and takes the message at once on a new one.
        if not self._is_stale:
            self._is_stale = True
            channel = self._channel
            self.connection.call_later(_DRAIN_S, partial(self._close_channel, channel))
        count = max(batch.refusals for batch, _ in entries)
        for batch, _ in entries:
            batch.refusals = count + 1
        pause_s = exponential(count, base=_PAUSE_S, cap=_MAX_PAUSE_S)
        self.connection.call_later(pause_s, partial(self._retry, entries))

    def _retry(self, entries: list[tuple[Batch, int]]) -> None:
        self._again(entries)
        self._pump()

    def _on_return(self, _: Any, method: Any, properties: Any, __: bytes) -> None:
        for tag, (batch, index) in self._unconfirmed.items():
            publication = batch.publications[index]
            if (
                publication.message_id == properties.message_id
                and tag not in self._returned
                and self._envelope.address(publication) == (method.exchange, method.routing_key)
            ):
                self._returned.add(tag)
                return

    def _on_unroutable(self, batch: Batch, index: int) -> None:
        queue = batch.publications[index].queue
        declarer = self._declarer
        if declarer.mode == "auto" and queue in declarer.known and index not in batch.repaired:
            # It did exist: somebody deleted it (or its binding) behind our back.
            batch.repaired.add(index)
            declarer.ensure(
                self.connection, [queue], lambda _: self._retry([(batch, index)]), is_whole=True
            )
        elif batch.settle(index, self.unknown_queue(queue)):
            self._finish(batch)

    def unknown_queue(self, queue: str) -> UnknownQueue:
        """The error for a queue that nobody declared."""
        known = ", ".join(sorted(self._declarer.known)) or "none"
        return UnknownQueue(
            f"nobody declared a queue {queue!r} on RabbitMQ at {self.connection.address}; queues "
            f"known to this process: {known}"
        )

    # ── the channel ──────────────────────────────────────────────────────────────────────────────

    def _restore(self) -> None:
        known = list(self._declarer.known)
        if not known or self._declarer.mode != "auto":
            self._open_channel()
            return

        def on_ensured(error: Exception | None) -> None:
            if error is not None:
                _log.warning("cannot declare the queues again", queues=known, reason=str(error))
            self._open_channel()

        self._declarer.ensure(self.connection, known, on_ensured)

    def _open_channel(self) -> None:
        def on_open(channel: Any) -> None:
            channel.add_on_return_callback(self._on_return)
            # Every confirm goes past pika; it wants to be given a callback none the less.
            channel.confirm_delivery(lambda _: None, callback=lambda _: on_ready(channel))

        def on_ready(channel: Any) -> None:
            self._channel = channel
            self._next_tag = self._lowest_tag = 1
            self._is_stale = False
            connection = self.connection
            self._envelope.use(
                channel.channel_number, connection.frame_max, parse_version(connection.server)
            )
            self._pump()

        if self._channel is None:
            self.connection.open_channel(on_open, self._on_channel_closed)

    def _close_channel(self, which: Any = None) -> None:
        channel = self._channel
        if channel is not None and which in (None, channel) and channel.is_open:
            channel.close()

    def _on_channel_closed(self, channel: Any, reason: ChannelRefused | ConnectionLost) -> None:
        if self._channel is not None and channel is not self._channel:
            return
        self._channel = None
        lost = list(self._unconfirmed.values())
        self._unconfirmed.clear()
        self._returned.clear()
        if not isinstance(reason, ChannelRefused):
            self._again(lost)
            return
        if reason.code:
            _log.warning("the broker closed the publishing channel", reason=str(reason))
            if reason.code != _NOT_FOUND:
                lost = self._accuse(lost, reason)
        self._again(lost)
        pause_s = _PAUSE_S if reason.code else 0.0
        self.connection.call_later(pause_s, self._restore if reason.code else self._open_channel)

    def _accuse(
        self, lost: list[tuple[Batch, int]], reason: ChannelRefused
    ) -> list[tuple[Batch, int]]:
        """One message made the broker close the channel: alone it is guilty, else go one by one."""
        if len(lost) == 1:
            batch, index = lost[0]
            identifier = batch.publications[index].message_id
            error = BrokerError(f"RabbitMQ refused message {identifier!r}: {reason}")
            if batch.settle(index, error):
                self._finish(batch)
            return []
        self._careful_count = len(lost)
        return lost
