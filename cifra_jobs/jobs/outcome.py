"""What became of a run: plain data.

Middleware decides an `Outcome`; `runtime/settlement.py` is the only place that acts on it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cifra_jobs.jobs.state import TaskState

if TYPE_CHECKING:
    import dramatiq

__all__ = [
    "Dead",
    "Ended",
    "Failed",
    "FollowUp",
    "Outcome",
    "Retry",
    "Snoozed",
    "Succeeded",
]


@dataclass(slots=True)
class FollowUp:
    """A message to publish before the delivery that caused it is acked."""

    message: dramatiq.Message[Any]
    delay_ms: int = 0


@dataclass(slots=True)
class Outcome:
    """What became of an attempt, and the messages that must follow from it."""

    follow_ups: list[FollowUp] = field(default_factory=list, kw_only=True)


@dataclass(slots=True)
class Succeeded(Outcome):
    """The function returned. ``encoded`` is the result as JSON text, once it is needed."""

    result: Any
    encoded: str | None = None


@dataclass(slots=True)
class Failed(Outcome):
    """The function raised; a policy turns this into `Retry`, `Ended` or `Dead`.

    What none of them turned is recorded as ``failed`` and not kept as a dead letter: Dramatiq's
    meaning of a failure without its Retries middleware.
    """

    error: BaseException


@dataclass(slots=True)
class Retry(Outcome):
    """It failed and has budget left: run again after ``delay_ms``; an attempt was used."""

    delay_ms: int
    error: BaseException


@dataclass(slots=True)
class Snoozed(Outcome):
    """It did not run, through no fault of its own: come back after ``delay_ms``."""

    delay_ms: int
    reason: str


@dataclass(slots=True)
class Ended(Outcome):
    """It ended without running to its end: ``expired``, ``revoked`` or ``skipped``."""

    state: TaskState
    error: BaseException
    dead_letter: bool = False


@dataclass(slots=True)
class Dead(Outcome):
    """It failed for good.

    ``reason`` is one word for the failure record: ``failed``, ``retries_exhausted``,
    ``rejected``, ``result``, ``unknown_task``, ``undecodable``, ….
    """

    error: BaseException
    reason: str
    dead_letter: bool = True
