"""From deliveries to attempts: decode, look up, claim.

Nothing here may raise into the consumer's thread: whatever is wrong with a message becomes a dead
letter with a reason, or a later copy.
"""

from __future__ import annotations

import difflib
import os
from typing import TYPE_CHECKING, Any

import dramatiq

from cifra_jobs.brokers.deadletters import REPLAYED_HEADER
from cifra_jobs.brokers.failure import FailureRecord
from cifra_jobs.clock import now_ms
from cifra_jobs.codec import loads
from cifra_jobs.errors import DecodeError, ParentFailed, StoreUnavailable, TaskRevoked, WorkerLost
from cifra_jobs.jobs.message import decode, sent_on
from cifra_jobs.jobs.outcome import Dead, Ended, Snoozed, Succeeded
from cifra_jobs.jobs.state import TaskState
from cifra_jobs.jobs.tasks import Task
from cifra_jobs.log import get_logger
from cifra_jobs.middleware.attempt import Attempt
from cifra_jobs.runtime.burial import Burial
from cifra_jobs.store.base import Claim, ClaimReply, Get

if TYPE_CHECKING:
    from cifra_jobs.brokers.base import Consumer, Delivery
    from cifra_jobs.runtime.worker import Worker
    from cifra_jobs.store.base import Operation, Reply

__all__ = ["Intake"]

log = get_logger(__name__)

#: ms; first and longest wait for a task that no worker of this queue knows yet.
_UNKNOWN_FIRST, _UNKNOWN_CAP = 1_000, 60_000
#: Deaths of a worker process while it ran one task, after which the task is not run again.
_POISON_DEATHS = 3
_THREADLESS = "a plain task, and mode 'async' has no thread for it"
#: ms; until a copy of a task that a living worker holds is looked at again.
_BUSY_WAIT = 2_000
#: Bytes of an id or a name, as AMQP carries them.
_LONGEST = 255
#: ms; a due time this close is now: a timer of the broker has whole milliseconds.
_EARLY = 1


class Intake:
    """Makes attempts of deliveries and has them claimed, a batch in one round trip."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._app = worker.app
        self._burial = Burial(worker)
        settings = worker.app.settings
        self._limit = settings.max_message_size
        self._grace_ms = int(settings.unknown_task_grace * 1000)
        self._claim_ttl_ms = int(settings.history_retention * 1000)

    def take(self, deliveries: list[Delivery], consumer: Consumer) -> None:
        """Take what one read has brought; on the consumer's thread."""
        attempts = []
        for delivery in deliveries:
            try:
                attempt = self._attempt_of(delivery, consumer)
            except DecodeError as error:
                self._bury(delivery, consumer, "undecodable", error)
            except Exception as error:
                log.exception("a message cannot be read", message_id=delivery.message_id)
                self._bury(delivery, consumer, "undecodable", error)
            else:
                if attempt is not None:
                    attempts.append(attempt)
        if attempts:
            self._worker.taken(len(attempts))
            self._claim(attempts)

    # -- one delivery --------------------------------------------------------------------------

    def _attempt_of(self, delivery: Delivery, consumer: Consumer) -> Attempt | None:
        message = decode(delivery.body, delivery.content_encoding, limit=self._limit)
        if max(len(message.message_id.encode()), len(message.actor_name.encode())) > _LONGEST:
            raise DecodeError(f"its id or the name of its task is longer than {_LONGEST} bytes")
        if message.queue_name != delivery.queue:
            reason = f"its body names queue {message.queue_name!r}, it came from {delivery.queue!r}"
            self._bury(delivery, consumer, "wrong_queue", DecodeError(reason), message)
            return None
        options = message.options
        _note_replay(delivery, options)
        if "eta" in options and self._is_held(delivery, consumer, message):
            return None
        actor = self._app.broker.actors.get(message.actor_name)
        if actor is None or not self._worker.bindings.can_run(actor):
            self._meet_unknown(delivery, consumer, message)
            return None
        is_task = isinstance(actor, Task)
        priority = delivery.priority
        return Attempt(
            message=message,
            actor=actor,
            options=self._worker.bindings.options_of(actor, options),
            round=_count(options, "round"),
            retries=_count(options, "retries"),
            token=os.urandom(8).hex(),
            delivery=delivery,
            consumer=consumer,
            is_async=self._worker.bindings.is_async(actor),
            rank=9 - priority if is_task else actor.priority,
        )

    def _is_held(
        self, delivery: Delivery, consumer: Consumer, message: dramatiq.Message[Any]
    ) -> bool:
        """Send on what is not due yet: the ladder has an end, and clocks differ."""
        eta = message.options["eta"]
        if eta is not None and (type(eta) not in (int, float) or eta != eta):  # noqa: PLR0124 - NaN
            self._app.broker.logger.warning(
                "Invalid eta value for message %r: %r. It runs now.", message.message_id, eta
            )
            eta = None
        if eta is None:
            del message.options["eta"]
            return False
        wait = int(eta) - now_ms()
        if wait <= _EARLY:
            del message.options["eta"]
            return False
        self._worker.settlement.send_on(delivery, consumer, message, wait, is_roundable=False)
        return True

    def _meet_unknown(
        self, delivery: Delivery, consumer: Consumer, message: dramatiq.Message[Any]
    ) -> None:
        """A task that this worker does not know or cannot run: a rolling deploy, or a mistake."""
        is_known = message.actor_name in self._app.broker.actors
        now = now_ms()
        since = message.options.get("unknown_at")
        since = since if type(since) is int else now
        if now - since >= self._grace_ms:
            name = message.actor_name
            error = dramatiq.ActorNotFound(f"{name}: {_THREADLESS}" if is_known else name)
            self._bury(delivery, consumer, "unknown_task", error, message)
            return
        spent = now - since
        wait = min(_UNKNOWN_CAP, max(_UNKNOWN_FIRST, spent), max(1, self._grace_ms - spent))
        log.warning(
            "unknown task: it waits for a worker that knows it",
            task=message.actor_name,
            task_id=message.message_id,
            queue=delivery.queue,
            wait_s=wait / 1000,
            similar=difflib.get_close_matches(message.actor_name, self._app.broker.actors, n=3),
            **({"reason": _THREADLESS} if is_known else {}),
        )
        copy = sent_on(message, unknown_at=since)
        self._worker.settlement.send_on(delivery, consumer, copy, wait, is_roundable=True)

    def _bury(
        self,
        delivery: Delivery,
        consumer: Consumer,
        reason: str,
        error: BaseException,
        message: dramatiq.Message[Any] | None = None,
    ) -> None:
        cls = type(error)
        actor = self._app.broker.actors.get(message.actor_name) if message is not None else None
        record = FailureRecord(
            task=message.actor_name if message is not None else "",
            id=message.message_id if message is not None else delivery.message_id or "",
            queue=delivery.queue,
            reason=reason,
            exception_type=f"{cls.__module__}.{cls.__qualname__}",
            message=str(error),
            last_ms=now_ms(),
            worker=self._worker.name,
            hidden=",".join(getattr(actor, "hidden", ())),
        )
        self._burial.bury(delivery, consumer, record, message, error)

    # -- claims --------------------------------------------------------------------------------

    def _claim(self, attempts: list[Attempt]) -> None:
        now, worker_id = now_ms(), self._worker.worker_id
        operations: list[Operation] = [
            Claim(
                attempt.message.message_id,
                attempt.round,
                attempt.token,
                worker_id,
                attempt.message.actor_name,
                attempt.delivery.queue,
                attempt.message.message_timestamp,
                now,
                self._claim_ttl_ms,
                attempt.message.options.get("replays", 0),
            )
            for attempt in attempts
        ]
        readers = [a for a in attempts if "result_of" in a.message.options]
        operations += [Get(attempt.message.options["result_of"]) for attempt in readers]

        def done(replies: list[Reply] | StoreUnavailable) -> None:
            if isinstance(replies, StoreUnavailable):
                self._without_store(attempts, readers)
                return
            results = dict(zip(readers, replies[len(attempts) :], strict=True))
            self._judge(attempts, replies[: len(attempts)], results)

        self._app.commit.submit(operations, done)

    def _without_store(self, attempts: list[Attempt], readers: list[Attempt]) -> None:
        """Redis is away: run unfenced; what needs Redis to run at all comes back later."""
        for attempt in readers:
            self._settle(
                attempt, Snoozed(_BUSY_WAIT, "its argument is in the store, which is away")
            )
        self._worker.ready([attempt for attempt in attempts if attempt not in readers])

    def _judge(
        self, attempts: list[Attempt], replies: list[Any], results: dict[Attempt, Any]
    ) -> None:
        granted = []
        for attempt, reply in zip(attempts, replies, strict=True):
            if reply.verdict == "staged":
                self._resume(attempt, reply)
            elif reply.verdict != "run":
                self._refuse(attempt, reply)
            elif reply.deaths >= _POISON_DEATHS:
                attempt.lost_runs = reply.deaths
                died = f"its worker process died {reply.deaths} times while it ran"
                self._settle(attempt, Dead(WorkerLost(died), "poison"))
            elif reply.deaths and attempt.options.is_early_ack:
                died = "its worker process died while it ran, and acks='early' is at most once"
                self._settle(attempt, Dead(WorkerLost(died), "worker_lost"))
            elif attempt not in results or self._insert_result(attempt, results[attempt]):
                granted.append(attempt)
        if granted:
            self._worker.ready(granted)

    def _resume(self, attempt: Attempt, reply: ClaimReply) -> None:
        """It has run: send what follows from its result, under the same ids as before."""
        attempt.lost_runs = 1
        outcome = Succeeded(loads(reply.result or "null"))
        chain = self._worker.bindings.chain_of(attempt)
        self._worker.settlement.settle([(attempt, chain.after(attempt, outcome))])

    def _insert_result(self, attempt: Attempt, record: Any) -> bool:
        """Add the stored result of its parent to a callback's arguments; whether it can run."""
        parent = attempt.message.options["result_of"]
        error: Exception = ParentFailed(f"the result of task {parent!r} is gone from the store")
        if record is not None and record.result is not None:
            try:
                args = (*attempt.message.args, loads(record.result))
            except DecodeError as undecodable:
                error = undecodable
            else:
                object.__setattr__(attempt.message, "args", args)
                return True
        self._settle(attempt, Dead(error, "no_argument"))
        return False

    def _refuse(self, attempt: Attempt, reply: ClaimReply) -> None:
        verdict = reply.verdict
        log.debug(
            "not run",
            task_id=attempt.message.message_id,
            verdict=verdict,
            state=reply.state,
            is_redelivered=attempt.delivery.is_redelivered,
        )
        if verdict == "revoked":
            error = TaskRevoked("it was revoked before it started")
            self._settle(attempt, Ended(TaskState.REVOKED, error))
        elif verdict == "busy":
            # Not acked while its owner may die: a copy looks again, then this one is acked.
            copy = sent_on(attempt.message, round=attempt.round, eta=now_ms() + _BUSY_WAIT)
            self._worker.settlement.send_on(
                attempt.delivery, attempt.consumer, copy, _BUSY_WAIT, is_roundable=True
            )
            self._worker.settled(1)
        else:
            attempt.consumer.ack([attempt.delivery])
            self._worker.settled(1)

    def _settle(self, attempt: Attempt, outcome: Dead | Ended | Snoozed) -> None:
        self._worker.settlement.settle([(attempt, outcome)])


def _note_replay(delivery: Delivery, options: dict[str, Any]) -> None:
    """A message put back from the dead begins anew: its budget is whole, and it has no expiry."""
    replays = delivery.headers.get(REPLAYED_HEADER, 0)
    if type(replays) is not int or replays <= _count(options, "replays"):
        return
    # A new round, so that what follows from this failure or success is a message of its own.
    options["replays"], options["round"] = replays, _count(options, "round") + 1
    for name in ("retries", "expires_at", "unknown_at"):
        options.pop(name, None)


def _count(options: dict[str, Any], name: str) -> int:
    value = options.get(name, 0)
    if type(value) is not int or value < 0:
        raise DecodeError(f"option {name!r} of the message is {value!r}, not a count")
    return value
