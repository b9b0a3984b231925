"""`Policy`: one rule about a run; and the chain of rules that is bound to a task once.

A policy decides and never acts: it publishes nothing and acks nothing. What should follow rides on
the `Outcome` as follow-ups; `runtime/settlement.py` acts. A policy has two colorless halves,
``before`` and ``after``, instead of one function around the run, because the run itself is a plain
call in a thread or an ``await`` in the event loop, and a rule should not have to know which.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cifra_jobs.jobs.failure import format_traceback
from cifra_jobs.jobs.outcome import Dead
from cifra_jobs.log import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cifra_jobs.jobs.outcome import Outcome
    from cifra_jobs.middleware.attempt import Attempt

__all__ = ["Chain", "Policy"]

log = get_logger(__name__)


class Policy:
    """One rule. Override what it needs; what is not overridden costs nothing at run time."""

    def before(self, attempt: Attempt) -> Outcome | None:
        """An outcome instead of the run, or ``None`` to go on."""

    def after(self, attempt: Attempt, outcome: Outcome) -> Outcome:
        """The outcome, replaced where the rule says so."""
        del attempt
        return outcome


class Chain:
    """The policies of one task: ``before`` from the first to the last, ``after`` the other way."""

    __slots__ = ("_afters", "_befores")

    def __init__(self, policies: Sequence[Policy]) -> None:
        self._befores: list[Callable[[Attempt], Outcome | None]] = [
            policy.before for policy in policies if type(policy).before is not Policy.before
        ]
        self._afters: list[Callable[[Attempt, Outcome], Outcome]] = [
            policy.after for policy in reversed(policies) if type(policy).after is not Policy.after
        ]

    def before(self, attempt: Attempt) -> Outcome | None:
        """The first outcome that a policy gives instead of the run, if any does."""
        for before in self._befores:
            try:
                outcome = before(attempt)
            except BaseException as error:
                log.exception("a policy failed", task_id=attempt.message.message_id)
                outcome = _broken(attempt, error)
            if outcome is not None:
                return outcome
        return None

    def after(self, attempt: Attempt, outcome: Outcome) -> Outcome:
        """What becomes of the run, after all policies."""
        for after in self._afters:
            try:
                outcome = after(attempt, outcome)
            except BaseException as error:
                log.exception("a policy failed", task_id=attempt.message.message_id)
                outcome = _broken(attempt, error)
        return outcome


def _broken(attempt: Attempt, error: BaseException) -> Outcome:
    """The end of an attempt whose rules raise: they would raise at each retry as well."""
    attempt.traceback = format_traceback(error)
    return Dead(error, "policy")


def overrides(middleware: Any, hook: str, base: type) -> bool:
    """Whether a Dramatiq middleware defines a hook itself."""
    return getattr(type(middleware), hook, None) is not getattr(base, hook)
