"""Drop what is too old to be worth doing: option ``expires``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cifra_jobs.clock import now_ms
from cifra_jobs.errors import TaskExpired
from cifra_jobs.jobs.outcome import Ended
from cifra_jobs.jobs.state import TaskState
from cifra_jobs.middleware.base import Policy

if TYPE_CHECKING:
    from cifra_jobs.jobs.outcome import Outcome
    from cifra_jobs.middleware.attempt import Attempt

__all__ = ["Expiry"]


class Expiry(Policy):
    """A run that would start after its ``expires`` ends as ``expired`` instead.

    Args:
        dead_letter: keep expired messages as dead letters (setting ``dead_letter_expired``).
    """

    def __init__(self, *, dead_letter: bool) -> None:
        self._dead_letter = dead_letter

    def before(self, attempt: Attempt) -> Outcome | None:
        """`Ended` as expired when the moment is past."""
        expires_at = attempt.message.options.get("expires_at")
        if expires_at is None:
            return None
        late_ms = now_ms() - expires_at
        if late_ms < 0:
            return None
        error = TaskExpired(f"it would have started {late_ms / 1000:.3f} s after its expiry")
        return Ended(TaskState.EXPIRED, error, self._dead_letter)
