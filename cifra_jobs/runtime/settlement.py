"""The one place where a delivery ends.

    stage the result that follow-ups read → publish what follows, await the confirms
    → finish: final state and result, many tasks in one round trip → ack

Nothing is acked before what follows from it is confirmed. A crash between any two arrows ends in a
redelivery that repeats nothing already done: a staged result is not computed again, follow-ups
have ids derived from the task, the finish is fenced by a token, and a finished task that comes
again is acked.

Where a publish fails, it is tried again until RabbitMQ is back: the message stays unacked
meanwhile, so it is lost by nobody. A finish that Redis does not take is kept and repeated the same
way (`store/group_commit.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dramatiq

import cifra_jobs
from cifra_jobs.brokers.base import Publication
from cifra_jobs.brokers.failure import FailureRecord
from cifra_jobs.clock import now_ms
from cifra_jobs.codec import dumps
from cifra_jobs.errors import StoreUnavailable
from cifra_jobs.jobs.failure import describe, format_traceback, text_of
from cifra_jobs.jobs.message import sent_on
from cifra_jobs.jobs.outcome import Dead, Ended, Failed, Retry, Snoozed, Succeeded
from cifra_jobs.jobs.state import FINAL_STATES, TaskState
from cifra_jobs.log import get_logger
from cifra_jobs.runtime.publishing import Publishing, tell_dead
from cifra_jobs.store.base import Finish, Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cifra_jobs.brokers.base import Consumer, Delivery, Headers
    from cifra_jobs.jobs.outcome import Outcome
    from cifra_jobs.middleware.attempt import Attempt
    from cifra_jobs.runtime.worker import Worker
    from cifra_jobs.store.base import Operation, Reply

__all__ = ["Settlement"]

log = get_logger(__name__)

#: States of tasks without a result that wait for Redis to be back; more are not written.
_MOST_KEPT = 10_000
#: Bytes of a stranger's headers that a dead letter keeps: all headers travel in one frame.
_HEADERS_ROOM = 16 * 1024
_TOO_BIG = 2**63
#: Characters of a task's name that AMQP's ``type`` is sure to carry.
_SHOWN_NAME = 60

_VERSIONS = {"cifra_jobs": cifra_jobs.__version__, "dramatiq": dramatiq.__version__}


class Settlement:
    """Turns outcomes into acts, for one worker."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._app = worker.app

    def settle(self, concluded: Sequence[tuple[Attempt, Outcome]]) -> None:
        """End deliveries; returns at once, the acts follow on the threads of store and broker."""
        plain: list[tuple[Attempt, Outcome]] = []
        for attempt, outcome in concluded:
            try:
                publications = self._publications(attempt, outcome)
            except Exception as error:
                log.exception("what follows cannot be written", task_id=attempt.message.message_id)
                outcome = Dead(error, "undeliverable")  # noqa: PLW2901 - it is the outcome now
                publications = self._publications(attempt, outcome)
            if publications:
                self._hand_over(attempt, outcome, publications)
            else:
                plain.append((attempt, outcome))
        if plain:
            self._finish(plain)

    def ack_early(self, attempt: Attempt) -> None:
        """Ack a run that begins now: at most once, so nobody else may get it from here on."""
        attempt.is_acked = True
        attempt.consumer.ack([attempt.delivery])

    def bury(
        self, delivery: Delivery, consumer: Consumer, record: FailureRecord, *, then: Any = None
    ) -> None:
        """Dead-letter a delivery that never became an attempt, untouched, then ack it."""
        dead = self._dead_copy(delivery, record)

        def ack() -> None:
            consumer.ack([delivery])
            if then is not None:
                then()

        tell_dead(record, delivery.queue)
        self.publish([dead], delivery.queue, ack)

    def send_on(
        self,
        delivery: Delivery,
        consumer: Consumer,
        message: dramatiq.Message[Any],
        delay_ms: int,
        *,
        is_roundable: bool,
    ) -> None:
        """Replace a delivery by a later copy: publish, await the confirm, ack; no attempt used."""
        copy = self._app.outbox.publication(
            message, delivery.queue, delay_ms, is_roundable=is_roundable
        )
        self.publish([copy], delivery.queue, lambda: consumer.ack([delivery]))

    def publish(self, publications: list[Publication], home: str, then: Callable[[], None]) -> None:
        """Publish until all are confirmed, however long RabbitMQ is away; then call ``then``.

        What it refuses for good is parked with the dead letters of the queue ``home``.
        """
        Publishing(self._worker, publications, home, then).start()

    # -- what follows --------------------------------------------------------------------------

    def _publications(self, attempt: Attempt, outcome: Outcome) -> list[Publication]:
        app = self._app
        publications = [
            app.outbox.publication(f.message, f.message.queue_name, f.delay_ms)
            for f in outcome.follow_ups
        ]
        match outcome:
            case Retry():
                copy = sent_on(
                    attempt.message, retries=attempt.retries + 1, eta=now_ms() + outcome.delay_ms
                )
                publications.append(self._later(attempt, copy, outcome.delay_ms))
            case Snoozed():
                copy = sent_on(attempt.message, eta=now_ms() + outcome.delay_ms)
                publications.append(self._later(attempt, copy, outcome.delay_ms))
            case Dead(dead_letter=True) | Ended(dead_letter=True):
                publications.append(
                    self._dead_copy(attempt.delivery, self._record_of(attempt, outcome))
                )
        return publications

    def _later(self, attempt: Attempt, copy: dramatiq.Message[Any], delay_ms: int) -> Publication:
        return self._app.outbox.publication(
            copy,
            attempt.delivery.queue,
            delay_ms,
            is_roundable=True,
            priority=attempt.delivery.priority,
        )

    def _dead_copy(self, delivery: Delivery, record: FailureRecord) -> Publication:
        return Publication(
            delivery.queue,
            delivery.body,
            delivery.message_id or "",
            delivery.priority,
            {**_plain(delivery.headers), **record.to_headers()},
            delivery.content_encoding,
            is_dead=True,
            type_name=record.task[:_SHOWN_NAME] or None,
        )

    def _record_of(self, attempt: Attempt, outcome: Dead | Ended) -> FailureRecord:
        error = outcome.error
        cls = type(error)
        return FailureRecord(
            task=attempt.message.actor_name,
            id=attempt.message.message_id,
            queue=attempt.delivery.queue,
            reason=outcome.reason if isinstance(outcome, Dead) else str(outcome.state),
            exception_type=f"{cls.__module__}.{cls.__qualname__}",
            message=attempt.masked(text_of(error)),
            traceback=attempt.traceback or attempt.masked(format_traceback(error)),
            attempts=_attempts(attempt),
            first_ms=attempt.message.message_timestamp,
            last_ms=now_ms(),
            worker=self._worker.name,
            versions=_VERSIONS,
            hidden=",".join(getattr(attempt.actor, "hidden", ())),
        )

    def _hand_over(
        self, attempt: Attempt, outcome: Outcome, publications: list[Publication]
    ) -> None:
        follow_ups = outcome.follow_ups
        if follow_ups:
            # Known from now on; the publish does not wait for it, nor fails with it.
            created = map(self._app.outbox.created, (f.message for f in follow_ups), publications)
            self._app.commit.submit(list(created))

        def publish(_: Any = None) -> None:
            home = attempt.delivery.queue
            self.publish(publications, home, lambda: self._finish([(attempt, outcome)]))

        if type(outcome) is Succeeded and outcome.encoded is not None:
            # On record before anything follows: should this process die in between, the next one
            # goes on from here instead of running the function again.
            stage = Stage(
                attempt.message.message_id,
                attempt.token,
                outcome.encoded,
                attempt.options.result_ttl_ms,
            )
            self._app.commit.submit([stage], publish, keep=True)
        else:
            publish()

    # -- the end -------------------------------------------------------------------------------

    def _finish(self, concluded: list[tuple[Attempt, Outcome]]) -> None:
        waiting = [pair for pair in concluded if pair[0].options.store_result]
        if waiting:
            self._app.commit.submit(self._writes(waiting), lambda _: self._ack(waiting), keep=True)
        if len(waiting) == len(concluded):
            return
        free = [pair for pair in concluded if not pair[0].options.store_result]
        operations = self._writes(free)

        def done(replies: list[Reply] | StoreUnavailable) -> None:
            # Redis is away: a task whose result nobody keeps does not wait for it to be acked. Its
            # state is written when Redis is back, unless too many wait for that.
            commit = self._app.commit
            if isinstance(replies, StoreUnavailable) and commit.kept_count < _MOST_KEPT:
                commit.submit(operations, None, keep=True)
            self._ack(free)

        self._app.commit.submit(operations, done)

    def _writes(self, concluded: list[tuple[Attempt, Outcome]]) -> list[Operation]:
        operations: list[Operation] = []
        for attempt, outcome in concluded:
            news = self._worker.roster.last_progress(attempt)
            if news is not None:
                operations.append(news)
            operations.append(self._finish_of(attempt, outcome))
        return operations

    def _finish_of(self, attempt: Attempt, outcome: Outcome) -> Finish:
        message, options, now = attempt.message, attempt.options, now_ms()
        state = _state_of(outcome)
        is_sent_on = state not in FINAL_STATES
        delay_ms = outcome.delay_ms if isinstance(outcome, Retry | Snoozed) else 0
        settings = self._app.settings
        keep_ms = int(settings.history_retention * 1000)
        worker = self._worker
        worker.count(state)
        log.info(
            "task state",
            task_id=message.message_id,
            task=message.actor_name,
            queue=attempt.delivery.queue,
            attempt=_attempts(attempt),
            **{"from": _before(attempt), "to": str(state)},
            **_cause(attempt, outcome),
        )
        return Finish(
            task_id=message.message_id,
            token=attempt.token,
            state=state,
            round=attempt.round + 1 if is_sent_on else attempt.round,
            task_name=message.actor_name,
            queue=attempt.delivery.queue,
            worker=worker.worker_id,
            attempts=_attempts(attempt),
            created_at=message.message_timestamp,
            started_at=attempt.started_at,
            now=now,
            eta=now + delay_ms if is_sent_on else None,
            result=outcome.encoded if type(outcome) is Succeeded else None,
            result_ttl_ms=options.result_ttl_ms,
            error=_error_of(attempt, outcome),
            handed_over=True,
            ttl_ms=max(keep_ms, options.result_ttl_ms) + delay_ms,
        )

    def _ack(self, concluded: Sequence[tuple[Attempt, Outcome]]) -> None:
        worker = self._worker
        plain_count = 0
        if len(concluded) == 1:
            plain_count = 1
            attempt, outcome = concluded[0]
            hooks = worker.bindings.hooks_of(attempt)
            is_nack = isinstance(outcome, Dead)
            if hooks is not None:
                hooks.settled(attempt, "before", is_nack=is_nack)
            if not attempt.is_acked:
                attempt.consumer.ack([attempt.delivery])
            if hooks is not None:
                hooks.settled(attempt, "after", is_nack=is_nack)
        else:
            by_consumer: dict[Consumer, list[Delivery]] = {}
            for pair in concluded:
                attempt = pair[0]
                if worker.bindings.hooks_of(attempt) is not None:
                    self._ack([pair])
                    continue
                plain_count += 1
                if not attempt.is_acked:
                    by_consumer.setdefault(attempt.consumer, []).append(attempt.delivery)
            for consumer, deliveries in by_consumer.items():
                consumer.ack(deliveries)
        worker.settled(plain_count)


def _plain(headers: Headers) -> Headers:
    """A stranger's headers as a dead letter can carry them; what is too much is left out.

    It has to be parked whatever its headers are, or it comes back for ever.
    """
    room = _HEADERS_ROOM
    kept: Headers = {}
    for name, value in headers.items():
        is_fit = type(value) is str or (type(value) is int and abs(value) < _TOO_BIG)
        fit = value if is_fit else repr(value)
        if isinstance(fit, str):
            fit = fit.encode("utf-8", "backslashreplace").decode()
        room -= len(name) + len(str(fit))
        if room < 0:
            break
        kept[name] = fit
    return kept


def _attempts(attempt: Attempt) -> int:
    return attempt.retries + attempt.lost_runs + (1 if attempt.started_at is not None else 0)


def _before(attempt: Attempt) -> str:
    return "running" if attempt.started_at is not None else "queued"


def _cause(attempt: Attempt, outcome: Outcome) -> dict[str, Any]:
    match outcome:
        case Retry(delay_ms=delay_ms, error=error):
            return {"delay_s": delay_ms / 1000, "error": _line(attempt, error)}
        case Snoozed(delay_ms=delay_ms, reason=reason):
            return {"delay_s": delay_ms / 1000, "reason": reason}
        case Ended(error=error) | Failed(error=error):
            return {"error": _line(attempt, error)}
        case Dead(error=error, reason=reason):
            return {"error": _line(attempt, error), "reason": reason}
    return {}


def _line(attempt: Attempt, error: BaseException) -> str:
    return attempt.masked(f"{type(error).__name__}: {text_of(error)}")


def _state_of(outcome: Outcome) -> TaskState:
    match outcome:
        case Succeeded():
            return TaskState.SUCCESS
        case Retry():
            return TaskState.RETRYING
        case Snoozed():
            return TaskState.SNOOZED
        case Ended():
            return outcome.state
    return TaskState.FAILED


def _error_of(attempt: Attempt, outcome: Outcome) -> str | None:
    if not isinstance(outcome, Retry | Ended | Dead | Failed):
        return None
    described = describe(
        outcome.error, task=attempt.message.actor_name, traceback=attempt.traceback
    )
    veil = attempt.veil()
    return dumps(described if veil is None else veil.json(described), "error").decode()
