"""The chain of policies: order, and what an exception of a rule becomes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from cifra_jobs.jobs.outcome import Dead, Failed, Outcome, Succeeded
from cifra_jobs.middleware.base import Chain, Policy

ATTEMPT: Any = SimpleNamespace(message=SimpleNamespace(message_id="id"), traceback="")


def policy(name: str, told: list[str], instead: Outcome | None = None) -> Policy:
    class Noting(Policy):
        def before(self, attempt: Any) -> Outcome | None:
            told.append(f"before {name}")
            return instead

        def after(self, attempt: Any, outcome: Outcome) -> Outcome:
            told.append(f"after {name}")
            return outcome

    return Noting()


def test_before_runs_downwards_and_after_upwards() -> None:
    told: list[str] = []
    chain = Chain([policy("outer", told), Policy(), policy("inner", told)])
    assert chain.before(ATTEMPT) is None
    outcome = Succeeded(5)
    assert chain.after(ATTEMPT, outcome) is outcome
    assert told == ["before outer", "before inner", "after inner", "after outer"]


def test_the_first_outcome_instead_of_a_run_wins() -> None:
    told: list[str] = []
    instead = Succeeded(1)
    chain = Chain([policy("one", told, instead), policy("two", told, Succeeded(2))])
    assert chain.before(ATTEMPT) is instead
    assert told == ["before one"]


def test_a_rule_that_breaks_ends_the_task_with_its_error() -> None:
    class Broken(Policy):
        def before(self, attempt: Any) -> Outcome | None:
            raise KeyError("before")

        def after(self, attempt: Any, outcome: Outcome) -> Outcome:
            raise KeyError("after")

    chain = Chain([Broken()])
    before = chain.before(ATTEMPT)
    after = chain.after(ATTEMPT, Failed(ValueError("its own")))
    assert isinstance(before, Dead)
    assert isinstance(before.error, KeyError)
    assert isinstance(after, Dead)
