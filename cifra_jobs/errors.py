"""Every exception that cifra_jobs raises.

::

    CifraError
    ├── ConfigError                     a setting is wrong; the start is refused
    ├── OptionError (TypeError)         a task option is unknown or has a bad value
    ├── NotYetBuilt (NotImplementedError)  a documented feature of a later release
    ├── ArgumentError (TypeError)       a call does not fit the task's signature
    │   └── EncodeError                 a value cannot travel as JSON
    ├── DecodeError                     bytes that are not one of our messages
    ├── BrokerError
    │   ├── BrokerUnavailable           no confirm in time: the outcome is unknown
    │   ├── UnknownQueue                nobody declared that queue
    │   └── TopologyMismatch            the server's entities differ from ours
    ├── StoreError
    │   └── StoreUnavailable            Redis did not answer
    ├── ServerUnavailable               a development server is not there or did not come up
    ├── TaskNotFound (LookupError)      an id that was never seen
    ├── WaitTimeout (TimeoutError)      waited long enough; the task goes on
    ├── WouldDeadlock                   a wait that can never end
    ├── TaskError                       what ``get()`` raises for a task that did not succeed
    │   ├── TaskFailed                  also raised by tasks: fail, with or without retry
    │   ├── TaskTimeout                 over its ``timeout``
    │   ├── TaskExpired                 would have started too late
    │   ├── TaskRevoked                 cancelled
    │   ├── TaskSkipped                 ended by ``Ignore``
    │   ├── WorkerLost                  its process died, too often
    │   ├── ParentFailed                what it waited for failed
    │   ├── ResultTooLarge              its result is over ``max_result_size``
    │   ├── ResultExpired               it succeeded, and its result is past its TTL
    │   └── RemoteError                 an exception that cannot be rebuilt here
    └── TaskSignal                      raised by task code to end a run in a certain way
        ├── TaskRetry                   run again later; uses an attempt
        ├── Ignore                      end as ``skipped``
        ├── Reject                      end as ``failed`` and dead-letter
        └── SoftTimeout                 raised inside a task at its ``soft_timeout``
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dramatiq.errors

if TYPE_CHECKING:
    from datetime import timedelta

__all__ = [
    "ArgumentError",
    "BrokerError",
    "BrokerUnavailable",
    "CifraError",
    "ConfigError",
    "DecodeError",
    "EncodeError",
    "Ignore",
    "NotYetBuilt",
    "OptionError",
    "ParentFailed",
    "Reject",
    "RemoteError",
    "ResultExpired",
    "ResultTooLarge",
    "ServerUnavailable",
    "SoftTimeout",
    "StoreError",
    "StoreUnavailable",
    "TaskError",
    "TaskExpired",
    "TaskFailed",
    "TaskNotFound",
    "TaskRetry",
    "TaskRevoked",
    "TaskSignal",
    "TaskSkipped",
    "TaskTimeout",
    "TopologyMismatch",
    "UnknownQueue",
    "WaitTimeout",
    "WorkerLost",
    "WouldDeadlock",
]


#: Beyond it dates have no calendar.
_LONGEST_DELAY_S = 1e11


class CifraError(Exception):
    """Root of every exception raised by cifra_jobs."""


class ConfigError(CifraError):
    """A setting is missing, unknown or invalid; the message names its path and the nearest name."""


class OptionError(CifraError, TypeError, ValueError):
    """A task option is unknown or has a bad value; the message names the nearest valid one."""


class NotYetBuilt(CifraError, NotImplementedError):
    """A documented feature that this release does not contain; the message says which."""


class ArgumentError(CifraError, TypeError):
    """A call does not fit the task's signature; nothing was sent."""


class EncodeError(ArgumentError):
    """A value has no JSON form that comes back as the same type; the message names its place."""


class DecodeError(CifraError, dramatiq.errors.DramatiqError):
    """Bytes or values that are not a message of ours.

    Attributes:
        reason: one sentence, fit for a failure record.
    """

    def __init__(self, reason: str) -> None:
        Exception.__init__(self, reason)
        self.message = self.reason = reason


class BrokerError(CifraError, dramatiq.errors.BrokerError):
    """The message broker refused or failed."""

    def __init__(self, message: str) -> None:
        Exception.__init__(self, message)
        self.message = message


class BrokerUnavailable(BrokerError, dramatiq.errors.ConnectionClosed):
    """RabbitMQ did not confirm a publish in time.

    The outcome is unknown: the message may or may not be in the queue. Sending again with the
    same ``task_id`` is harmless.
    """


class UnknownQueue(BrokerError, dramatiq.errors.QueueNotFound):
    """A message went to a queue that nobody declared; the text names those that exist."""


class TopologyMismatch(BrokerError):
    """An exchange, queue or binding on the server differs from what this deployment declares."""


class StoreError(CifraError):
    """The state store refused or failed."""


class StoreUnavailable(StoreError):
    """Redis did not answer, or refused the connection."""


class ServerUnavailable(CifraError):
    """A RabbitMQ or Redis for development could not be found, reached or started."""


class TaskNotFound(CifraError, LookupError):
    """No task of that id was ever sent, or its record has passed its retention."""

    def __init__(self, task_id: str) -> None:
        super().__init__(
            f"no task {task_id!r} is known: it was never sent, or its record is past its retention"
        )
        self.task_id = task_id


class WaitTimeout(CifraError, TimeoutError):
    """The wait ended before the task did; the task itself goes on."""


class WouldDeadlock(CifraError, RuntimeError):
    """Waiting here could never end: no slot of this worker could free for what is waited for."""


class TaskError(CifraError):
    """Root of what ``get()`` raises for a task that did not succeed.

    Attributes:
        task_id: the task it speaks of, where known.
    """

    task_id: str | None = None


class TaskFailed(TaskError):
    """Raise it in a task to fail; ``get()`` raises it for a task that did.

    Args:
        reason: why, for people.
        retry: whether the retry budget may be used (default true). With ``retry=False`` the task
            is failed at once.
    """

    def __init__(self, reason: object = "", *, retry: bool = True) -> None:
        super().__init__(reason)
        self.retry = retry


class TaskTimeout(TaskError, TimeoutError):
    """A run took longer than the task's ``timeout``."""


class TaskExpired(TaskError):
    """The task would have started later than its ``expires``; it was dropped."""


class TaskRevoked(TaskError):
    """The task was revoked before it finished."""


class TaskSkipped(TaskError):
    """The task ended itself with ``Ignore``, or a middleware skipped it."""


class WorkerLost(TaskError):
    """The worker process died while it ran the task, too many times."""


class ParentFailed(TaskError):
    """What this task waited for failed, so it will never run."""


class ResultTooLarge(TaskError):
    """The return value is larger than ``max_result_size``; the task is failed."""


class ResultExpired(TaskError):
    """The task succeeded, but its result is past ``result_expires`` and gone."""


class RemoteError(TaskError):
    """A task's exception whose class cannot be rebuilt in this process.

    Attributes:
        type_name: module and qualified name of the class on the worker.
        remote_traceback: the traceback as text, as the worker saw it.
    """

    def __init__(self, type_name: str, message: str, remote_traceback: str = "") -> None:
        super().__init__(f"{type_name}: {message}" if message else type_name)
        self.type_name = type_name
        self.remote_traceback = remote_traceback


class TaskSignal(CifraError):
    """Root of the exceptions with which task code ends its own run."""


class TaskRetry(TaskSignal, dramatiq.errors.Retry):
    """Raise it in a task to run again later; an attempt is used.

    Args:
        message: why, for people.
        delay: seconds or ``timedelta`` until the next run; the task's back-off when not given.
        countdown: Celery's word for ``delay``.
        exc: the exception that made the retry needed; it is the error once the budget is used up.
    """

    def __init__(
        self,
        message: str = "",
        delay: float | timedelta | None = None,
        *,
        countdown: float | None = None,
        exc: BaseException | None = None,
    ) -> None:
        Exception.__init__(self, message)
        self.message = message
        wait: Any = delay if delay is not None else countdown
        seconds: Any = wait.total_seconds() if hasattr(wait, "total_seconds") else wait
        is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
        if seconds is not None and not (is_number and 0 <= seconds < _LONGEST_DELAY_S):
            raise OptionError(f"delay={wait!r} must be seconds, 0 or more, or a timedelta")
        self.delay_seconds: float | None = seconds
        # Dramatiq's own Retry middleware reads milliseconds from `delay`.
        self.delay = None if seconds is None else int(seconds * 1000)
        self.exc = exc


class Ignore(TaskSignal):
    """Raise it in a task to end as ``skipped``: no result, no retry, no dead letter."""


class Reject(TaskSignal):
    """Raise it in a task to fail at once and keep the message as a dead letter."""


class SoftTimeout(TaskSignal):
    """Raised inside a task at its ``soft_timeout``, so that it can clean up."""

    def __init__(self, message: str = "the soft timeout of the task is over") -> None:
        super().__init__(message)
