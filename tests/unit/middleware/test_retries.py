"""Failures to retries or ends, for any budget and any options."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cifra_jobs.errors import Ignore, Reject, TaskFailed, TaskRetry
from cifra_jobs.jobs.options import RunOptions
from cifra_jobs.jobs.outcome import Dead, Ended, Failed, FollowUp, Retry, Succeeded
from cifra_jobs.middleware.retries import Retries

ERRORS = st.sampled_from(
    [
        ValueError("x"),
        KeyError("x"),
        TaskFailed("x"),
        TaskFailed("x", retry=False),
        TaskRetry(),
        TaskRetry(delay=5),
        TaskRetry(exc=OSError("x")),
        Ignore(),
        Reject("x"),
        SystemExit(1),
    ]
)
OPTIONS = st.builds(
    RunOptions,
    max_retries=st.none() | st.integers(0, 5),
    retry_delay_ms=st.floats(0, 1e6),
    has_backoff=st.booleans(),
    retry_backoff_max_ms=st.floats(0, 1e6),
    has_jitter=st.booleans(),
    retry_for=st.sampled_from([(), (ValueError,), (LookupError, TaskFailed)]),
    no_retry_for=st.sampled_from([(), (ValueError,), (OSError,)]),
)


def attempt(options: RunOptions, retries: int) -> Any:
    return SimpleNamespace(options=options, retries=retries)


@given(OPTIONS, st.integers(0, 8), ERRORS)
def test_the_budget_is_never_exceeded(
    options: RunOptions, retries: int, error: BaseException
) -> None:
    outcome = Retries().after(attempt(options, retries), Failed(error))
    assert isinstance(outcome, Retry | Dead | Ended)
    if isinstance(outcome, Retry):
        assert options.max_retries is None or retries < options.max_retries
        assert outcome.delay_ms >= 0


@given(OPTIONS, st.integers(0, 8))
def test_a_delay_is_within_the_options(options: RunOptions, retries: int) -> None:
    outcome = Retries().after(attempt(options, retries), Failed(KeyError("x")))
    if isinstance(outcome, Retry):
        longest = options.retry_backoff_max_ms if options.has_backoff else options.retry_delay_ms
        assert outcome.delay_ms <= round(longest)


@given(OPTIONS, st.integers(0, 8), ERRORS)
def test_what_should_follow_is_kept(
    options: RunOptions, retries: int, error: BaseException
) -> None:
    message: Any = object()
    failed = Failed(error, follow_ups=[FollowUp(message)])
    outcome = Retries().after(attempt(options, retries), failed)
    assert [each.message for each in outcome.follow_ups] == [message]


@given(OPTIONS)
def test_a_success_passes(options: RunOptions) -> None:
    succeeded = Succeeded(5)
    assert Retries().after(attempt(options, 0), succeeded) is succeeded
