"""What becomes of a run that raised: another run later, or the end.

Options ``retry``, ``retry_delay``, ``retry_backoff``, ``retry_backoff_max``, ``retry_jitter``,
``retry_for``, ``no_retry_for``, ``retry_when``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dramatiq.middleware import SkipMessage

from cifra_jobs.backoff import exponential
from cifra_jobs.errors import Ignore, Reject, TaskFailed, TaskRetry, TaskRevoked, TaskSkipped
from cifra_jobs.jobs.outcome import Dead, Ended, Failed, Retry
from cifra_jobs.jobs.state import TaskState
from cifra_jobs.middleware.base import Policy

if TYPE_CHECKING:
    from cifra_jobs.jobs.outcome import Outcome
    from cifra_jobs.middleware.attempt import Attempt

__all__ = ["Retries"]


class Retries(Policy):
    """`Failed` becomes `Retry` while the budget lasts, else `Dead`.

    ``retry=3`` is at most four runs. `TaskRetry` uses the same budget; past it the task fails with
    what caused the retry.
    """

    def after(self, attempt: Attempt, outcome: Outcome) -> Outcome:
        """Decide about a failure; anything else passes."""
        if type(outcome) is not Failed:
            return outcome
        error = outcome.error
        verdict = _verdict(attempt, error)
        verdict.follow_ups = outcome.follow_ups
        return verdict


def _verdict(attempt: Attempt, error: BaseException) -> Outcome:
    if isinstance(error, Ignore | SkipMessage):
        return Ended(TaskState.SKIPPED, TaskSkipped(str(error) or "the task ended itself: Ignore"))
    if isinstance(error, TaskRevoked):
        return Ended(TaskState.REVOKED, error)
    if isinstance(error, Reject):
        return Dead(error, "rejected")
    if isinstance(error, TaskRetry):
        return _asked_for(attempt, error)
    if not _is_retryable(attempt, error):
        return Dead(error, "failed")
    if _is_used_up(attempt):
        return Dead(error, "retries_exhausted" if attempt.options.max_retries else "failed")
    return Retry(round(_delay_ms(attempt)), error)


def _asked_for(attempt: Attempt, error: TaskRetry) -> Outcome:
    cause = error.exc or error.__cause__ or error.__context__
    if _is_used_up(attempt):
        used_up = TaskFailed(f"{error.message or 'it asked for a retry'}; the budget is used up")
        return Dead(cause or used_up, "retries_exhausted")
    delay_ms = error.delay_seconds * 1000 if error.delay_seconds is not None else None
    return Retry(round(_delay_ms(attempt) if delay_ms is None else delay_ms), cause or error)


def _is_retryable(attempt: Attempt, error: BaseException) -> bool:
    options = attempt.options
    if isinstance(error, TaskFailed) and not error.retry:
        return False
    if options.no_retry_for and isinstance(error, options.no_retry_for):
        return False
    if options.retry_for and not isinstance(error, options.retry_for):
        return False
    return options.retry_when is None or bool(options.retry_when(attempt.retries, error))


def _is_used_up(attempt: Attempt) -> bool:
    budget = attempt.options.max_retries
    return budget is not None and attempt.retries >= budget


def _delay_ms(attempt: Attempt) -> float:
    options = attempt.options
    return exponential(
        attempt.retries if options.has_backoff else 0,
        base=options.retry_delay_ms,
        cap=options.retry_backoff_max_ms if options.has_backoff else options.retry_delay_ms,
        jitter=options.has_jitter,
    )
