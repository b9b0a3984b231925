"""Dead letters of messages that never became an attempt: unreadable, misplaced, unknown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dramatiq.broker import MessageProxy

from cifra_jobs.clock import now_ms
from cifra_jobs.codec import dumps
from cifra_jobs.jobs.failure import describe
from cifra_jobs.jobs.port import carrying
from cifra_jobs.jobs.state import TaskState
from cifra_jobs.store.base import Created, SendFailed

if TYPE_CHECKING:
    import dramatiq

    from cifra_jobs.brokers.base import Consumer, Delivery
    from cifra_jobs.brokers.failure import FailureRecord
    from cifra_jobs.runtime.worker import Worker

__all__ = ["Burial"]


class Burial:
    """Buries deliveries of one worker."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def bury(
        self,
        delivery: Delivery,
        consumer: Consumer,
        record: FailureRecord,
        message: dramatiq.Message[Any] | None,
        error: BaseException,
    ) -> None:
        """Dead-letter what never became an attempt, and let Dramatiq's observers know."""
        if message is None:
            self._worker.settlement.bury(delivery, consumer, record)
            return
        broker = self._worker.app.broker
        proxy = MessageProxy(message)
        proxy.fail()
        proxy.stuff_exception(error)

        known = Created(
            message.message_id,
            message.actor_name,
            delivery.queue,
            TaskState.QUEUED,
            delivery.priority,
            message.message_timestamp,
            None,
            message.options.get("root_id"),
            message.options.get("parent_id"),
            int(self._worker.app.settings.history_retention * 1000),
        )
        described = dumps(describe(error, task=message.actor_name), "error").decode()

        def then() -> None:
            with carrying():
                broker.emit_after("nack", proxy)
            proxy.clear_exception()
            # Not a final outcome: put back, or in the right queue, the message may still run.
            failed = SendFailed(message.message_id, described, now_ms())
            self._worker.app.commit.submit([known, failed], keep=True)

        with carrying():
            broker.emit_before("nack", proxy)
        self._worker.settlement.bury(delivery, consumer, record, then=then)
