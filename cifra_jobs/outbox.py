"""The way out of a process: messages and their first records, in one breath, confirmed.

What is refused is refused before anything is sent. Queues that this process names are declared on
the way, on a thread that may wait for the broker: the caller may be an event loop.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import dramatiq

from cifra_jobs import codec
from cifra_jobs.brokers.base import Publication
from cifra_jobs.clock import now_ms, system_clock
from cifra_jobs.errors import (
    ArgumentError,
    BrokerUnavailable,
    CifraError,
    UnknownQueue,
)
from cifra_jobs.jobs import port
from cifra_jobs.jobs.confirms import Sending
from cifra_jobs.jobs.failure import describe
from cifra_jobs.jobs.message import COMPRESS_ABOVE, encode
from cifra_jobs.jobs.state import TaskState
from cifra_jobs.jobs.tasks import Task
from cifra_jobs.log import get_logger
from cifra_jobs.store.base import Created, SendFailed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cifra_jobs.app import App
    from cifra_jobs.errors import BrokerError
    from cifra_jobs.store.base import Operation

__all__ = ["Outbox"]

log = get_logger(__name__)

#: A message, and as it goes out.
Prepared = tuple[dramatiq.Message[Any], Publication]

#: ms added to the life of the record of a task that waits: beyond it nobody looks for its sender.
_WAITING_TTL_MS = 30 * 24 * 3600 * 1000


class Outbox:
    """Sends the messages of one application."""

    def __init__(self, app: App) -> None:
        self._app = app

    def publication(
        self,
        message: dramatiq.Message[Any],
        queue: str,
        delay_ms: int,
        *,
        is_roundable: bool = False,
        priority: int | None = None,
    ) -> Publication:
        """A message as it goes out.

        Raises:
            EncodeError: an argument cannot travel as JSON; it is named.
            ArgumentError: it is larger than ``max_message_size``.
        """
        body = encode(message)
        encoding = None
        limit = self._app.settings.max_message_size
        if len(body) > limit:
            raise ArgumentError(
                f"the message for {message.actor_name} has {len(body)} bytes;"
                f" max_message_size is {limit}. Pass a key to the data instead"
            )
        if len(body) > COMPRESS_ABOVE:
            body, encoding = codec.compress(body), codec.DEFLATE
        options = message.options
        headers = options.get("headers")
        return Publication(
            queue,
            body,
            message.message_id,
            self._priority_of(message) if priority is None else priority,
            _plain_headers(headers) if headers else {},
            encoding,
            delay_ms,
            is_roundable,
            type_name=message.actor_name,
        )

    def dispatch(
        self,
        messages: Sequence[tuple[dramatiq.Message[Any], int]],
        *,
        awaits_records: bool = True,
    ) -> Sending:
        """Send messages, each with a delay in ms, as one batch; never blocks for the confirms.

        The ``pending`` records go out in the same breath. What is refused is refused before
        anything is sent.

        Args:
            messages: each with its delay.
            awaits_records: done only once the records are written as well, so that whoever gets
                the id finds it; without, a record may be a few milliseconds late.
        """
        publications = [self.publication(m, m.queue_name, delay) for m, delay in messages]
        ready = [(m, p) for (m, _), p in zip(messages, publications, strict=True)]
        return self._go_out(ready, awaits_records=awaits_records)

    def prepare(self, messages: Iterable[tuple[dramatiq.Message[Any], int]]) -> list[Prepared]:
        """What `send` takes, of messages, each with a delay in ms; refused here or not at all.

        Dramatiq's middleware hears of each, as it does of a message that is enqueued.

        Raises:
            EncodeError: an argument cannot travel as JSON; it is named.
            ArgumentError: a message is larger than ``max_message_size``.
        """
        prepared = []
        for message, delay in messages:
            self._app.broker.emit_enqueue("before_enqueue", message, delay or None)
            prepared.append((message, self.publication(message, message.queue_name, delay)))
        return prepared

    def send(self, prepared: Sequence[Prepared]) -> Sending:
        """Send what `prepare` gave, as one batch; never blocks for the confirms."""
        sending = self._go_out(prepared)
        if self._app.broker.observes("after_enqueue"):
            sending.add_done_callback(lambda done: self._tell_sent(done, prepared))
        return sending

    def _priority_of(self, message: dramatiq.Message[Any]) -> int:
        options = message.options
        actor = self._app.broker.actors.get(message.actor_name)
        if isinstance(actor, Task):
            chosen = options.get("set", {}).get("priority")
            return actor.resolved().priority if chosen is None else chosen
        known = actor.options.get("broker_priority") if actor is not None else None
        return int(options.get("broker_priority", known) or 0)

    def created(self, message: dramatiq.Message[Any], publication: Publication) -> Created:
        """The first record of a message that goes out."""
        options = message.options
        delay = publication.delay_ms
        return Created(
            message.message_id,
            message.actor_name,
            publication.queue,
            TaskState.SCHEDULED if delay else TaskState.QUEUED,
            publication.priority,
            message.message_timestamp,
            options.get("eta") if delay else None,
            options.get("root_id"),
            options.get("parent_id"),
            _WAITING_TTL_MS + delay,
        )

    def _go_out(self, ready: Sequence[Prepared], *, awaits_records: bool = True) -> Sending:
        publications = [publication for _, publication in ready]
        sending = Sending()
        batch = _Batch(self._app, publications, sending, awaits_records=awaits_records)
        unknown = {p.queue for p in publications} - self._app.declared
        # Submitted before the publish, so that a record is older than the run of its task.
        created: list[Operation] = [self.created(m, p) for m, p in ready]
        self._app.commit.submit(created, batch.on_created, is_lazy=not awaits_records)
        if unknown:
            # Declaring waits for the broker; the caller may be an event loop.
            self._app.on_pool(lambda: batch.declare_and_publish(unknown))
        else:
            batch.publish()
        return sending

    def _tell_sent(self, sending: Sending, prepared: Sequence[Prepared]) -> None:
        if sending.exception() is not None:
            return
        with port.carrying():
            for message, publication in prepared:
                self._app.broker.emit_enqueue(
                    "after_enqueue", message, publication.delay_ms or None
                )


class _Batch:
    """Messages sent together: done when all are confirmed and their records are written."""

    def __init__(
        self,
        app: App,
        publications: list[Publication],
        sending: Sending,
        *,
        awaits_records: bool,
    ) -> None:
        self._app = app
        self._publications = publications
        self._sending = sending
        self._lock = threading.Lock()
        self._awaits_records = awaits_records
        self._waits_for = 2 if awaits_records else 1
        self._error: BaseException | None = None
        self._is_retried = False
        self._begun_at = system_clock.monotonic()

    def publish(self) -> None:
        """Hand the messages to the transport."""
        app = self._app
        app.transport.publish(
            self._publications, self._on_confirmed, timeout_s=app.settings.publish_timeout
        )

    def declare_and_publish(self, queues: set[str]) -> None:
        """Declare those queues that are ours, then publish; RabbitMQ judges the others."""
        app = self._app
        # Sends wait here in line: during an outage each would wait for those before it as well.
        left_s = self._begun_at + app.settings.publish_timeout - system_clock.monotonic()
        if left_s <= 0:
            self._fail_all(BrokerUnavailable("RabbitMQ did not answer in time; nothing was sent"))
            return
        try:
            named = app.queues_named()
            # With nothing of ours on the server yet, it could not even say that a queue is unknown.
            app.declare(named & queues or named, timeout_s=left_s)
        except Exception as error:  # noqa: BLE001 - whatever it is, the sender must hear of it
            self._fail_all(error)
            return
        self.publish()

    def on_created(self, replies: Any) -> None:
        """The records are written, or Redis is away: the publish counts all the same."""
        if isinstance(replies, CifraError):
            log.warning("sent without a record: Redis is away", error=str(replies))
        if self._awaits_records:
            self._one_done()

    def _on_confirmed(self, errors: list[BrokerError | None]) -> None:
        failed = {i: error for i, error in enumerate(errors) if error is not None}
        if not failed:
            self._one_done()
            return
        lost = {
            self._publications[i].queue
            for i, error in failed.items()
            if isinstance(error, UnknownQueue)
        }
        ours = lost & self._app.queues_named()
        if ours and not self._is_retried:
            # Declared before, and gone from the server since: declare it again, once.
            self._is_retried = True
            self._publications = [self._publications[i] for i in failed]
            self._app.redeclare(ours, self.publish)
            return
        self._fail(failed)

    def _fail_all(self, error: Exception) -> None:
        self._fail(dict.fromkeys(range(len(self._publications)), error))

    def _fail(self, failed: dict[int, Any]) -> None:
        now = now_ms()
        operations: list[Operation] = [
            SendFailed(self._publications[i].message_id, codec.dumps(describe(error)).decode(), now)
            for i, error in failed.items()
        ]
        first = next(iter(failed.values()))
        total = len(self._publications)
        if len(failed) < total or total > 1:
            first.add_note(f"{len(failed)} of {total} messages of this batch were not confirmed")
        self._error = first
        self._app.commit.submit(operations, lambda _: self._one_done())

    def _one_done(self) -> None:
        with self._lock:
            self._waits_for -= 1
            if self._waits_for:
                return
        self._sending.conclude(self._error)


def _plain_headers(headers: dict[str, Any]) -> dict[str, Any]:
    """The caller's headers as the management UI can show them: strings and integers."""
    return {
        f"h-{name}": value
        if type(value) is str or _is_int64(value)
        else codec.dumps(codec.pack(value)).decode()
        for name, value in headers.items()
    }


def _is_int64(value: Any) -> bool:
    return type(value) is int and -(2**63) <= value < 2**63
