"""The dead of one queue: look without losing, send again, throw away."""

from __future__ import annotations

from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any

from cifra_jobs.brokers.base import Publication
from cifra_jobs.brokers.deadletters import REPLAYED_HEADER, DeadLetter
from cifra_jobs.brokers.failure import FailureRecord
from cifra_jobs.brokers.rabbitmq.connection import GET_EMPTY
from cifra_jobs.brokers.rabbitmq.dialog import Dialog
from cifra_jobs.brokers.rabbitmq.properties import is_stripped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cifra_jobs.brokers.base import Headers, Transport
    from cifra_jobs.brokers.rabbitmq.connection import Connection
    from cifra_jobs.errors import BrokerError

__all__ = ["DeadLetters"]

_TIMEOUT_S = 10.0


class DeadLetters:
    """The dead-letter queue of one queue.

    All methods wait for the broker and raise `BrokerError` where it fails. What is looked at and
    not settled goes back to its place; while they work, nobody else sees those messages.
    """

    def __init__(
        self, transport: Transport, connection: Connection, dead_queue: str, queue: str
    ) -> None:
        self._transport = transport
        self._connection = connection
        self._dead_queue = dead_queue
        self._queue = queue

    def browse(self, limit: int = 100) -> list[DeadLetter]:
        """The oldest dead letters, up to ``limit``; all of them stay."""
        with Dialog(self._connection, _TIMEOUT_S) as dialog:
            return [letter for letter, _ in self._take(dialog, limit)]

    def requeue(self, message_id: str) -> bool:
        """Send one again to its queue, without the record of its failure; whether it was found."""
        return self.requeue_many(lambda letter: letter.message_id == message_id, limit=1) == 1

    def requeue_many(
        self, is_wanted: Callable[[DeadLetter], bool], *, limit: int | None = None
    ) -> int:
        """Send again those that are wanted, oldest first; returns how many.

        Each is confirmed in its queue before it leaves the dead: a crash between the two leaves
        it in both, under one id.
        """
        return self._settle(is_wanted, self._send_again, limit)

    def purge(self, message_id: str) -> bool:
        """Throw one away; whether it was found."""
        return self.purge_many(lambda letter: letter.message_id == message_id, limit=1) == 1

    def purge_many(
        self, is_wanted: Callable[[DeadLetter], bool], *, limit: int | None = None
    ) -> int:
        """Throw away those that are wanted; returns how many."""
        return self._settle(is_wanted, None, limit)

    def _settle(
        self,
        is_wanted: Callable[[DeadLetter], bool],
        first: Callable[[DeadLetter], None] | None,
        limit: int | None,
    ) -> int:
        count = 0
        with Dialog(self._connection, _TIMEOUT_S) as dialog:
            for letter, tag in self._take(dialog, None):
                if not is_wanted(letter):
                    continue
                if first is not None:
                    first(letter)
                dialog.do(partial(_ack, tag))
                count += 1
                if count == limit:
                    break
            # The answer to this comes after the acks were read.
            dialog.do(lambda channel, resolve: channel.basic_qos(callback=resolve))
        return count

    def _send_again(self, letter: DeadLetter) -> None:
        headers = {
            key: value
            for key, value in FailureRecord.strip(letter.headers).items()
            if not is_stripped(key) and isinstance(value, str | int)
        }
        replayed = headers.get(REPLAYED_HEADER, 0)
        headers[REPLAYED_HEADER] = replayed + 1 if isinstance(replayed, int) else 1
        publication = Publication(
            queue=self._queue,
            body=letter.body,
            message_id=letter.message_id or "",
            priority=letter.priority,
            headers=headers,
            content_encoding=letter.content_encoding,
            type_name=letter.type_name,
        )
        answer: Future[list[BrokerError | None]] = Future()
        self._transport.publish([publication], answer.set_result, timeout_s=_TIMEOUT_S)
        error = answer.result(2 * _TIMEOUT_S)[0]
        if error is not None:
            raise error

    def _take(self, dialog: Dialog, limit: int | None) -> Iterator[tuple[DeadLetter, int]]:
        """Messages from the front; no more than there are now, so that new ones cannot loop."""
        reply: Any = dialog.do(
            lambda channel, resolve: channel.queue_declare(
                self._dead_queue, passive=True, callback=resolve
            )
        )
        count = int(reply.method.message_count)
        for _ in range(count if limit is None else min(count, limit)):
            taken = dialog.do(self._get)
            if taken is None:
                return
            method, properties, body = taken
            headers = _plain(properties.headers or {})
            letter = DeadLetter(
                message_id=properties.message_id,
                body=body,
                headers=headers,
                failure=FailureRecord.from_headers(headers),
                priority=min(9, properties.priority or 0),
                content_encoding=properties.content_encoding,
                type_name=properties.type,
            )
            yield letter, method.delivery_tag

    def _get(self, channel: Any, resolve: Callable[[Any], None]) -> None:
        channel.add_callback(lambda _: resolve(None), [GET_EMPTY])
        channel.basic_get(
            self._dead_queue,
            lambda _, method, properties, body: resolve((method, properties, body)),
        )


def _plain(headers: Headers) -> Headers:
    # pika reads integers as a class of its own, which nobody else takes for one.
    return {
        key: int(value) if isinstance(value, int) and not isinstance(value, bool) else value
        for key, value in headers.items()
    }


def _ack(tag: int, channel: Any, resolve: Callable[[None], None]) -> None:
    channel.basic_ack(tag)
    resolve(None)
