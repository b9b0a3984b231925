"""What is sent once after the final outcome: ``on_success``, ``on_failure`` and links.

Callbacks become follow-ups with ids derived from the task, so that a repeat after a crash is the
same message again and runs once.
"""

from __future__ import annotations

import dataclasses
import uuid
from typing import TYPE_CHECKING, Any

import dramatiq

from cifra_jobs.clock import now_ms
from cifra_jobs.errors import OptionError, TaskExpired
from cifra_jobs.jobs.envelope import id_of, wire_options
from cifra_jobs.jobs.failure import format_traceback, text_of
from cifra_jobs.jobs.message import make
from cifra_jobs.jobs.options import CALL_KEYWORDS, normalize
from cifra_jobs.jobs.outcome import Dead, Ended, FollowUp, Succeeded
from cifra_jobs.jobs.signatures import Signature
from cifra_jobs.jobs.tasks import Task
from cifra_jobs.log import get_logger
from cifra_jobs.middleware.base import Policy

if TYPE_CHECKING:
    from cifra_jobs.jobs.outcome import Outcome
    from cifra_jobs.middleware.attempt import Attempt

__all__ = ["Callbacks"]

log = get_logger(__name__)

#: Fixed, so that every worker derives the same id from the same task and kind of callback.
_NAMESPACE = uuid.UUID("6f0dd8b4-5a1b-4f0e-9c60-0c4f6b6f0a55")

#: Bytes of JSON; a result up to this rides in the message, a larger one is read from the store.
INLINE_RESULT = 32 * 1024


class Callbacks(Policy):
    """Adds callbacks to a final outcome. A failed callback changes nothing of its task."""

    def __init__(self, broker: dramatiq.Broker) -> None:
        self._broker = broker

    def after(self, attempt: Attempt, outcome: Outcome) -> Outcome:
        """Put the callbacks of a final outcome on it."""
        message, options = attempt.message, attempt.options
        if type(outcome) is Succeeded:
            for i, name in enumerate(options.on_success):
                self._add(attempt, outcome, f"on_success.{i}", name, self._success_args)
            for i, link in enumerate(message.options.get("link", ())):
                self._add_link(attempt, outcome, f"link.{i}", link, (outcome.result,))
        elif type(outcome) is Dead or (
            type(outcome) is Ended and isinstance(outcome.error, TaskExpired)
        ):
            for i, name in enumerate(options.on_failure):
                self._add(attempt, outcome, f"on_failure.{i}", name, self._failure_args)
            if type(outcome) is Dead and outcome.reason == "retries_exhausted":
                for i, name in enumerate(options.on_retry_exhausted):
                    self._add(attempt, outcome, f"on_retry_exhausted.{i}", name, _exhausted_args)
            for i, link in enumerate(message.options.get("link_error", ())):
                self._add_link(
                    attempt, outcome, f"link_error.{i}", link, self._texts(attempt, outcome.error)
                )
        return outcome

    def _add(self, attempt: Attempt, outcome: Outcome, kind: str, name: str, args_of: Any) -> None:
        actor = self._broker.actors.get(name)
        is_task = actor is None or isinstance(actor, Task)
        args = args_of(attempt, outcome, is_task=is_task)
        extra: dict[str, Any] = {}
        if kind.startswith("on_success") and is_task and _is_large(outcome):
            # (a) of settlement stores the result; the worker of the callback reads it from there.
            args, extra["result_of"] = (args[0],), attempt.message.message_id
        self._follow(attempt, outcome, kind, Signature(name, args), extra)

    def _add_link(
        self,
        attempt: Attempt,
        outcome: Outcome,
        kind: str,
        link: dict[str, Any],
        args: tuple[Any, ...],
    ) -> None:
        self._follow(attempt, outcome, kind, Signature.from_dict(link).clone(*args), {})

    def _follow(
        self,
        attempt: Attempt,
        outcome: Outcome,
        kind: str,
        call: Signature[Any],
        extra: dict[str, Any],
    ) -> None:
        parent = attempt.message
        try:
            message, delay_ms = self._message_of(attempt, call)
        except OptionError:
            log.exception(
                "callback cannot be sent",
                task=parent.actor_name,
                task_id=parent.message_id,
                callback=call.task_name,
            )
            return
        message.options.update(
            extra,
            parent_id=parent.message_id,
            root_id=parent.options.get("root_id", parent.message_id),
        )
        if "task_id" not in call.options:
            derived = uuid.uuid5(_NAMESPACE, f"{parent.message_id}:{attempt.round}:{kind}")
            message = dataclasses.replace(message, message_id=str(derived))
        outcome.follow_ups.append(FollowUp(message, delay_ms))

    def _message_of(
        self, attempt: Attempt, call: Signature[Any]
    ) -> tuple[dramatiq.Message[Any], int]:
        actor = self._broker.actors.get(call.task_name)
        if isinstance(actor, Task):
            return actor.envelope(call.args, call.kwargs, call.options)
        parent = attempt.message
        if actor is None:
            log.warning(
                "callback is not a task of this worker; sent to the queue of its parent",
                task=parent.actor_name,
                task_id=parent.message_id,
                callback=call.task_name,
            )
        queue = attempt.delivery.queue if actor is None else actor.queue_name
        now = now_ms()
        overrides = normalize(
            {name: call.options[name] for name in call.options.keys() - CALL_KEYWORDS},
            owner=f"task {call.task_name!r}",
            per_call=True,
        )
        queue = overrides.pop("queue", queue)
        options = wire_options(
            call.options, overrides, expires=overrides.pop("expires", None), now=now
        )
        message = make(
            queue, call.task_name, call.args, call.kwargs, options, id_of(call.options), now
        )
        return message, max(0, options.get("eta", now) - now)

    def _success_args(
        self, attempt: Attempt, outcome: Succeeded, *, is_task: bool
    ) -> tuple[Any, ...]:
        message = attempt.message
        return (message.message_id if is_task else message.asdict(), outcome.result)

    def _failure_args(self, attempt: Attempt, outcome: Any, *, is_task: bool) -> tuple[Any, ...]:
        if is_task:
            return self._texts(attempt, outcome.error)
        error = {"type": type(outcome.error).__name__, "message": text_of(outcome.error)}
        return (attempt.message.asdict(), error)

    def _texts(self, attempt: Attempt, error: BaseException) -> tuple[str, str, str]:
        traceback = attempt.traceback or attempt.masked(format_traceback(error))
        text = attempt.masked(f"{type(error).__name__}: {text_of(error)}")
        return (attempt.message.message_id, text, traceback)


def _exhausted_args(attempt: Attempt, _outcome: Outcome, *, is_task: bool) -> tuple[Any, ...]:
    """As Dramatiq's own middleware gives them, whatever kind the callback is."""
    del is_task
    budget = {"retries": attempt.retries, "max_retries": attempt.options.max_retries}
    return (attempt.message.asdict(), budget)


def _is_large(outcome: Outcome) -> bool:
    return (
        type(outcome) is Succeeded
        and outcome.encoded is not None
        and len(outcome.encoded) > INLINE_RESULT
    )
