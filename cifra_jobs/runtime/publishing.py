"""What follows from a delivery, published until each message is confirmed or parked."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from cifra_jobs.backoff import exponential
from cifra_jobs.brokers.failure import FailureRecord
from cifra_jobs.clock import now_ms
from cifra_jobs.errors import BrokerUnavailable, UnknownQueue
from cifra_jobs.log import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from cifra_jobs.brokers.base import Publication
    from cifra_jobs.errors import BrokerError
    from cifra_jobs.runtime.worker import Worker

__all__ = ["Publishing", "tell_dead"]

log = get_logger(__name__)

#: Refusals, some three seconds of them, after which a message is parked: the delivery that it
#: follows from holds prefetch credit meanwhile.
_REFUSALS = 6


class Publishing:
    """Publications tried again, with back-off, until each is confirmed.

    However long RabbitMQ is away; but what it refuses, such as a callback for a queue that nobody
    declares, becomes a dead letter of the queue of its parent, or a few of them would hold up a
    worker for ever.

    Args:
        worker: whose transport, timers and settings serve.
        publications: what to publish.
        home: the queue of the delivery that they follow from.
        then: called once all are confirmed.
    """

    def __init__(
        self, worker: Worker, publications: list[Publication], home: str, then: Callable[[], None]
    ) -> None:
        self._worker = worker
        self._open = publications
        self._home = home
        self._then = then
        self._failures = 0
        self._refusals = 0

    def start(self) -> None:
        """Publish what is not confirmed yet; never blocks."""
        app = self._worker.app
        app.transport.publish(self._open, self._on_done, timeout_s=app.settings.publish_timeout)

    def _on_done(self, errors: list[BrokerError | None]) -> None:
        failed = [
            (publication, error)
            for publication, error in zip(self._open, errors, strict=True)
            if error is not None
        ]
        if not failed:
            self._then()
            return
        self._refusals += any(self._is_refused(*each) for each in failed)
        is_enough = self._refusals >= _REFUSALS
        self._open = [
            self._parked(*each) if is_enough and self._is_refused(*each) else each[0]
            for each in failed
        ]
        first = failed[0][1]
        if isinstance(first, UnknownQueue):
            log.error("what follows has no queue yet; it is tried again", error=str(first))
        else:
            log.warning("what follows is not confirmed; it is tried again", error=str(first))
        wait = exponential(self._failures, base=0.1, cap=5.0)
        self._failures += 1
        self._worker.timers.call_later(wait, self._again)

    def _again(self) -> None:
        # On the timers' thread: declaring waits for the broker, so it goes to the app's own.
        self._worker.app.redeclare({p.queue for p in self._open}, self.start)

    def _is_refused(self, publication: Publication, error: BrokerError) -> bool:
        # Our own queue and its dead letters are declared again before each try.
        is_ours = publication.queue == self._home and isinstance(error, UnknownQueue)
        return not (publication.is_dead or is_ours or isinstance(error, BrokerUnavailable))

    def _parked(self, publication: Publication, error: BrokerError) -> Publication:
        record = FailureRecord(
            task=publication.type_name or "",
            id=publication.message_id,
            queue=publication.queue,
            reason="undeliverable",
            exception_type=f"{type(error).__module__}.{type(error).__qualname__}",
            message=str(error),
            last_ms=now_ms(),
            worker=self._worker.name,
        )
        tell_dead(record, self._home)
        return replace(
            publication,
            queue=self._home,
            headers={**publication.headers, **record.to_headers()},
            delay_ms=0,
            is_dead=True,
        )


def tell_dead(record: FailureRecord, queue: str) -> None:
    """Log that a message of a queue was dead-lettered without a run."""
    log.error(
        "dead letter",
        reason=record.reason,
        task=record.task,
        task_id=record.id,
        queue=queue,
        error=record.message,
    )
