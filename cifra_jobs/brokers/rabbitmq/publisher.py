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

from cifra_jobs.backoff import exponential
from cifra_jobs.brokers.rabbitmq.connection import Connection
from cifra_jobs.brokers.rabbitmq.envelope import Envelope, parse_version
from cifra_jobs.brokers.rabbitmq.intake import Intake
from cifra_jobs.brokers.rabbitmq.listener import ChannelRefused, ConnectionLost, Listener
from cifra_jobs.brokers.rabbitmq.window import Window
from cifra_jobs.clock import now_ms
from cifra_jobs.errors import BrokerError, UnknownQueue
from cifra_jobs.log import get_logger

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from cifra_jobs.brokers.rabbitmq.batch import Batch
    from cifra_jobs.brokers.rabbitmq.declaring import Declarer
    from cifra_jobs.brokers.rabbitmq.window import Entry

__all__ = ["Publisher"]

_log = get_logger(__name__)

#: Bytes handed to the socket in one go, and what may wait there before more is written.
_CHUNK_BYTES = 1 << 18
_UNSENT_BYTES = 4 << 20

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
        self.intake = Intake(self.connection, admit=self._admit, on_late=self._forget_late)
        self._declarer = declarer
        self._envelope = Envelope(declarer)
        self._room = window
        self._waiting: deque[tuple[Batch, Iterator[int]]] = deque()
        self._window = Window()
        self._channel: Any = None
        #: The channel refused a message, and is replaced when its other confirms are in.
        self._is_stale = False
        #: So many messages go one by one, to find the one that the broker closes the channel for.
        self._careful_count = 0
        #: Queues that others declared, found to exist when something was delayed for them.
        self._seen: set[str] = set()

    def unknown_queue(self, queue: str) -> UnknownQueue:
        """The error for a queue that nobody declared."""
        known = ", ".join(sorted(self._declarer.known))
        return UnknownQueue(
            f"nobody declared a queue {queue!r} on RabbitMQ at {self.connection.address}; name "
            f"it in the settings' queues, or make it with `cifra queue declare {queue}`"
            + (f"; queues known to this process: {known}" if known else "")
        )

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
        for batch, index in self._window.take_returned(tag, is_multiple=is_multiple):
            self._on_unroutable(batch, index)
        entries = self._window.take(tag, is_multiple=is_multiple)
        if not is_ack:
            self._on_refused(entries)
            return
        for batch, index in entries:
            if batch.settle(index):
                self.intake.finish(batch)
        if self._careful_count:
            self._careful_count -= 1

    def on_read_end(self) -> None:
        """There may be room in the window."""
        if self._is_stale:
            if not self._window:
                self._close_channel()
        elif self._waiting:
            self._pump()

    # ── waiting ──────────────────────────────────────────────────────────────────────────────────

    def _admit(self, batch: Batch) -> None:
        batch.strangers -= self._seen
        if batch.strangers:
            self._look_for(next(iter(batch.strangers)), batch)
            return
        self._waiting.append((batch, iter(range(len(batch.publications)))))
        self._pump()

    def _look_for(self, queue: str, batch: Batch) -> None:
        def look() -> None:
            if not batch.is_over:
                name = self._declarer.names.queue(queue)
                self.connection.converse(
                    lambda channel: channel.queue_declare(name, passive=True), on_answer
                )

        def on_answer(error: Exception | None) -> None:
            if isinstance(error, ConnectionLost):
                self.connection.call_later(_PAUSE_S, partial(self.connection.when_up, look))
                return
            if isinstance(error, ChannelRefused) and error.code == _NOT_FOUND:
                unknown = self.unknown_queue(queue)
                for index, publication in enumerate(batch.publications):
                    if publication.queue == queue and batch.settle(index, unknown):
                        self.intake.finish(batch)
            else:
                # A user who may not look at a queue may well publish to it.
                self._seen.add(queue)
            batch.strangers.discard(queue)
            self._admit(batch)

        self.connection.when_up(look)

    def _again(self, entries: Iterable[Entry]) -> None:
        """Put messages back to the front, in their order."""
        groups: list[tuple[Batch, list[int]]] = []
        for batch, index in entries:
            if groups and groups[-1][0] is batch:
                groups[-1][1].append(index)
            elif not batch.is_over:
                groups.append((batch, [index]))
        self._waiting.extendleft((batch, iter(indexes)) for batch, indexes in reversed(groups))

    def _retry(self, entries: list[Entry]) -> None:
        self._again(entries)
        self._pump()

    def _forget_late(self) -> None:
        # An outage may be long, and every send of it would stay here.
        self._waiting = deque(each for each in self._waiting if not each[0].is_over)

    # ── writing ──────────────────────────────────────────────────────────────────────────────────

    def _pump(self) -> None:
        connection = self.connection
        limit = 1 if self._careful_count else self._room
        now_s = now_ms() // 1000
        while (
            self._waiting
            and self._channel is not None
            and not self._is_stale
            and not connection.is_blocked
            and (room := limit - len(self._window)) > 0
            and (connection.unsent_bytes < _UNSENT_BYTES or not self._window)
        ):
            pieces = self._pieces(room, now_s)
            if pieces:
                connection.write(b"".join(pieces))

    def _pieces(self, room: int, now_s: int) -> list[bytes]:
        batch, indexes = self._waiting[0]
        pieces: list[bytes] = []
        size = 0
        tag, entries, frames = self._window.next_tag, self._window.entries, self._envelope.frames
        for index in () if batch.is_over else indexes:
            if not batch.is_open(index):
                continue
            try:
                data = frames(batch.publications[index], now_s)
            except BrokerError as error:
                if batch.settle(index, error):
                    self.intake.finish(batch)
                continue
            entries[tag] = (batch, index)
            tag += 1
            pieces.append(data)
            size += len(data)
            if len(pieces) >= room or size > _CHUNK_BYTES:
                break
        else:
            self._waiting.popleft()
        self._window.next_tag = tag
        return pieces

    # ── refused, returned ────────────────────────────────────────────────────────────────────────

    def _on_refused(self, entries: list[Entry]) -> None:
        if not entries:
            return
        # A 3.10 broker whose leader died goes on refusing on this channel for as long as the dead
        # node is away, and takes the message at once on a new one.
        if not self._is_stale:
            self._is_stale = True
            self.connection.call_later(_DRAIN_S, partial(self._close_channel, self._channel))
        count = max(batch.refusals for batch, _ in entries)
        for batch, _ in entries:
            batch.refusals = count + 1
        pause_s = exponential(count, base=_PAUSE_S, cap=_MAX_PAUSE_S)
        self.connection.call_later(pause_s, partial(self._retry, entries))

    def _on_return(self, _: Any, method: Any, properties: Any, __: bytes) -> None:
        address = (method.exchange, method.routing_key)

        def is_this(entry: Entry) -> bool:
            publication = entry[0].publications[entry[1]]
            return (
                publication.message_id == properties.message_id
                and self._envelope.address(publication) == address
            )

        self._window.mark_returned(is_this)

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
            self.intake.finish(batch)

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
            self._window = Window()
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
        lost = list(self._window.entries.values())
        self._window = Window()
        if isinstance(reason, ConnectionLost):
            # `on_up` goes on from here.
            self._again(lost)
        elif not reason.code:
            self._again(lost)
            self.connection.call_later(0, self._open_channel)
        else:
            _log.warning("the broker closed the publishing channel", reason=str(reason))
            self._again(lost if reason.code == _NOT_FOUND else self._accuse(lost, reason))
            self.connection.call_later(_PAUSE_S, self._restore)

    def _accuse(self, lost: list[Entry], reason: ChannelRefused) -> list[Entry]:
        """One message made the broker close the channel: alone it is guilty, else go one by one."""
        if len(lost) != 1:
            self._careful_count = len(lost)
            return lost
        batch, index = lost[0]
        identifier = batch.publications[index].message_id
        error = BrokerError(f"RabbitMQ refused message {identifier!r}: {reason}")
        if batch.settle(index, error):
            self.intake.finish(batch)
        return []
