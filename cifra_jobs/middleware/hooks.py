"""Dramatiq's middleware, unchanged, around a run.

An ``enqueue`` inside a hook becomes a follow-up, so that nothing is published by an observer whose
exceptions are swallowed: one with the id of the message itself is that message's retry.
``message.fail()`` and ``SkipMessage`` change the outcome. Any other exception of a hook is logged
and ignored, as Dramatiq does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dramatiq
from dramatiq.broker import MessageProxy
from dramatiq.middleware import (
    AgeLimit,
    Callbacks,
    Retries,
    ShutdownNotifications,
    SkipMessage,
    TimeLimit,
)

from cifra_jobs.brokers.broker import captured
from cifra_jobs.errors import TaskSkipped
from cifra_jobs.jobs.outcome import Dead, Ended, Failed, Retry, Succeeded
from cifra_jobs.jobs.port import carrying
from cifra_jobs.jobs.state import TaskState
from cifra_jobs.log import get_logger
from cifra_jobs.middleware.base import Policy, overrides

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cifra_jobs.jobs.outcome import FollowUp, Outcome
    from cifra_jobs.middleware.attempt import Attempt

__all__ = ["DramatiqHooks", "hooked"]

log = get_logger(__name__)

#: Dramatiq's own rules, which hold for plain actors; a `Task` has our policies in their place.
_FOR_PLAIN_ACTORS = (AgeLimit, Callbacks, Retries, ShutdownNotifications, TimeLimit)
#: They raise exceptions in the thread that runs a task: for ``async def`` the event loop's.
_FOR_THREADS = (ShutdownNotifications, TimeLimit)

_HOOKS = (
    "before_process_message",
    "after_process_message",
    "after_skip_message",
    "before_ack",
    "after_ack",
    "before_nack",
    "after_nack",
)


class DramatiqHooks(Policy):
    """The hooks of the middleware that concerns one task, looked up once."""

    def __init__(self, broker: dramatiq.Broker, middleware: Sequence[dramatiq.Middleware]) -> None:
        self._broker = broker
        self._bound: dict[str, list[Callable[..., Any]]] = {
            hook: [
                getattr(m, hook)
                for m in (middleware if hook.startswith("before") else reversed(middleware))
                if overrides(m, hook, dramatiq.Middleware)
            ]
            for hook in _HOOKS
        }

    @property
    def is_empty(self) -> bool:
        """Whether no middleware has anything to say."""
        return not any(self._bound.values())

    def before(self, attempt: Attempt) -> Outcome | None:
        """Call ``before_process_message``."""
        attempt.proxy = proxy = MessageProxy(attempt.message)
        with captured() as follow_ups:
            for hook in self._bound["before_process_message"]:
                try:
                    hook(self._broker, proxy)
                except SkipMessage as skip:
                    return self._skipped(proxy, skip, follow_ups)
                except Exception:
                    log.critical("before_process_message failed", hook=repr(hook), exc_info=True)
        if proxy.failed:
            return self._after(attempt, Failed(TaskSkipped("a middleware failed the message")))
        return None

    def after(self, attempt: Attempt, outcome: Outcome) -> Outcome:
        """Call ``after_process_message`` and read what it did."""
        if type(outcome) is Succeeded or type(outcome) is Failed:
            return self._after(attempt, outcome)
        return outcome

    def settled(self, attempt: Attempt, moment: str, *, is_nack: bool) -> None:
        """Call ``before_ack``, ``after_ack``, ``before_nack`` or ``after_nack``."""
        name = f"{moment}_{'nack' if is_nack else 'ack'}"
        with carrying():
            for hook in self._bound[name]:
                try:
                    hook(self._broker, attempt.proxy)
                except Exception:
                    log.critical("a hook failed", name=name, hook=repr(hook), exc_info=True)
        if moment == "after" and attempt.proxy is not None:
            attempt.proxy.clear_exception()

    def _skipped(
        self, proxy: MessageProxy, skip: SkipMessage, follow_ups: list[FollowUp]
    ) -> Outcome:
        if proxy.failed:
            proxy.stuff_exception(skip)
        self._call("after_skip_message", proxy)
        if proxy.failed:
            return Dead(skip, "skipped", follow_ups=follow_ups)
        error = TaskSkipped(str(skip) or "a middleware skipped the message")
        return Ended(TaskState.SKIPPED, error, follow_ups=follow_ups)

    def _after(self, attempt: Attempt, outcome: Succeeded | Failed) -> Outcome:
        proxy = attempt.proxy
        if proxy is None:
            return outcome
        error = outcome.error if type(outcome) is Failed else None
        if error is not None:
            proxy.stuff_exception(error)
        if isinstance(error, SkipMessage):
            # Raised by the task itself: Dramatiq skips the message then.
            return self._skipped(proxy, error, outcome.follow_ups)
        with captured() as follow_ups:
            if error is not None:
                self._call("after_process_message", proxy, exception=error)
            else:
                result = outcome.result if type(outcome) is Succeeded else None
                self._call("after_process_message", proxy, result=result)
        return _read(attempt, proxy, outcome, follow_ups)

    def _call(self, name: str, proxy: MessageProxy, **facts: Any) -> None:
        for hook in self._bound[name]:
            try:
                hook(self._broker, proxy, **facts)
            except Exception:
                log.critical("a hook failed", name=name, hook=repr(hook), exc_info=True)


def _read(
    attempt: Attempt, proxy: MessageProxy, outcome: Succeeded | Failed, sent: list[FollowUp]
) -> Outcome:
    error: BaseException | None = outcome.error if type(outcome) is Failed else None
    own = [f for f in sent if f.message.message_id == attempt.message.message_id]
    follow_ups = outcome.follow_ups + [f for f in sent if f not in own]
    if own and not proxy.failed:
        # The message was changed by the middleware that sends it again (retries, traceback).
        attempt.message.options.update(own[0].message.options)
        attempt.message.options.pop("eta", None)
        cause = error or TaskSkipped("a middleware sent the message again")
        return Retry(own[0].delay_ms, cause, follow_ups=follow_ups)
    if proxy.failed:
        cause = error or TaskSkipped("a middleware failed the message")
        return Dead(cause, "failed", follow_ups=follow_ups)
    outcome.follow_ups = follow_ups
    return outcome


def hooked(
    broker: dramatiq.Broker,
    *,
    is_task: bool,
    is_async: bool,
    has_pipe: bool,
    is_notified: bool = False,
) -> DramatiqHooks | None:
    """The hooks for a task, or ``None`` when no middleware concerns it.

    Args:
        broker: whose middleware.
        is_task: whether it is one of ours, which has policies of its own.
        is_notified: whether one of ours wants to be interrupted when its worker begins to stop.
        is_async: whether it runs in the event loop.
        has_pipe: whether the message is part of a Dramatiq pipeline.
    """
    concerned = [
        m
        for m in broker.middleware
        if (
            not (is_task and type(m) in _FOR_PLAIN_ACTORS)
            or (is_notified and type(m) is ShutdownNotifications)
        )
        and not (is_async and isinstance(m, _FOR_THREADS))
        and not (is_task and not has_pipe and type(m) is dramatiq.middleware.Pipelines)
    ]
    hooks = DramatiqHooks(broker, concerned)
    return None if hooks.is_empty else hooks
