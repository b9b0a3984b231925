"""Dead letters of messages that never became an attempt: unreadable, misplaced, unknown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dramatiq.broker import MessageProxy

from cifra_jobs.clock import now_ms
from cifra_jobs.codec import dumps
from cifra_jobs.jobs.failure import describe
from cifra_jobs.jobs.port import carrying
from cifra_jobs.jobs.state import TaskState
from cifra_jobs.store.base import Finish

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

        def then() -> None:
            with carrying():
                broker.emit_after("nack", proxy)
            proxy.clear_exception()
            self._worker.app.commit.submit([self._failed_unrun(message, record, error)], keep=True)

        with carrying():
            broker.emit_before("nack", proxy)
        self._worker.settlement.bury(delivery, consumer, record, then=then)

    def _failed_unrun(
        self, message: dramatiq.Message[Any], record: FailureRecord, error: BaseException
    ) -> Finish:
        now = now_ms()
        return Finish(
            task_id=message.message_id,
            token="",
            state=TaskState.FAILED,
            round=message.options.get("round", 0),
            task_name=message.actor_name,
            queue=record.queue,
            worker=self._worker.worker_id,
            attempts=0,
            created_at=message.message_timestamp,
            started_at=None,
            now=now,
            eta=None,
            result=None,
            result_ttl_ms=0,
            error=dumps(describe(error, task=message.actor_name), "error").decode(),
            handed_over=True,
            ttl_ms=int(self._worker.app.settings.history_retention * 1000),
        )
