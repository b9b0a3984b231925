"""How often a failing task runs, how long it waits in between, and how it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from cifra_jobs import Reject, TaskFailed, TaskRetry, current_task, task
from cifra_jobs.testing.assertions import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from cifra_jobs.runtime.worker import Worker
    from tests.contract.kit import Ledger, TestApp, Workers


@pytest.mark.parametrize("budget", [0, 1, 3])
def test_a_failing_task_runs_once_and_once_more_for_each_retry(
    app: TestApp, worker: Worker, ledger: Ledger, budget: int
) -> None:
    @task(retry=budget, retry_delay=0.002)
    def failing() -> None:
        ledger(current_task.request.retries)
        raise ValueError("always")

    handle = failing.delay()
    with pytest.raises(ValueError, match="always"):
        handle.result(10)
    assert ledger.entries == list(range(budget + 1))
    record = app.get(handle)
    assert record is not None
    assert record.attempts == budget + 1
    (letter,) = app.dead()
    assert letter.failure is not None
    assert letter.failure.reason == ("retries_exhausted" if budget else "failed")
    assert letter.failure.attempts == budget + 1
    assert letter.failure.exception_type == "builtins.ValueError"
    assert "always" in letter.failure.traceback


def delays_of(app: TestApp) -> list[float]:
    """The delays, in seconds, with which the app's tasks were sent on."""
    sent: list[float] = []
    publish = app.faulty_transport.inner.publish

    def noted(publications: Any, done: Any, *, timeout_s: float) -> None:
        sent.extend(each.delay_ms / 1000 for each in publications if each.delay_ms)
        publish(publications, done, timeout_s=timeout_s)

    app.faulty_transport.inner.publish = noted
    return sent


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [0.01, 0.02, 0.04]),
        ({"retry_backoff": False}, [0.01, 0.01, 0.01]),
        ({"retry_backoff_max": 0.03}, [0.01, 0.02, 0.03]),
    ],
)
def test_the_delay_doubles_with_each_retry_up_to_its_limit(
    make_app: Callable[..., TestApp],
    new_workers: Callable[[TestApp], Workers],
    options: dict[str, Any],
    expected: list[float],
) -> None:
    app = make_app(is_faulty=True)
    sent = delays_of(app)

    @task(retry=3, retry_delay=0.01, **options)
    def failing() -> None:
        raise ValueError

    new_workers(app)()
    with pytest.raises(ValueError):  # noqa: PT011 - it has no text
        failing.apply_sync()
    assert sent == expected


def test_full_jitter_draws_each_delay_from_zero_to_its_length(
    make_app: Callable[..., TestApp], new_workers: Callable[[TestApp], Workers]
) -> None:
    app = make_app(is_faulty=True)
    sent = delays_of(app)

    @task(retry=1, retry_delay=0.2, retry_jitter=True)
    def failing(number: int) -> None:
        raise ValueError

    new_workers(app)(concurrency=8)
    handles = [failing.delay(number) for number in range(16)]
    for handle in handles:
        handle.wait_sync(10)
    assert all(0 <= delay <= 0.2 for delay in sent)
    assert max(sent) - min(sent) > 0.02


def test_a_retry_that_is_asked_for_comes_after_the_delay_asked_for(
    make_app: Callable[..., TestApp], new_workers: Callable[[TestApp], Workers], ledger: Ledger
) -> None:
    app = make_app(is_faulty=True)
    sent = delays_of(app)

    @task(retry=2)
    def asking() -> str:
        ledger("ran")
        if len(ledger) == 1:
            raise TaskRetry("later", delay=0.03)
        if len(ledger) == 2:
            current_task.retry(countdown=0.05)
        return "done"

    new_workers(app)()
    assert asking.apply_sync() == "done"
    assert sent == [0.03, 0.05]
    assert len(ledger) == 3


def test_a_retry_asked_for_past_the_budget_fails_with_its_cause(
    app: TestApp, worker: Worker, ledger: Ledger
) -> None:
    @task(retry=1)
    def asking() -> None:
        ledger("ran")
        raise TaskRetry(delay=0.001) from ConnectionResetError("the bank hung up")

    with pytest.raises(ConnectionResetError, match="the bank hung up"):
        asking.apply_sync()
    assert len(ledger) == 2


def test_a_retry_without_a_cause_past_the_budget_says_that_it_is_used_up(
    app: TestApp, worker: Worker
) -> None:
    @task(retry=0)
    def asking() -> None:
        raise TaskRetry("the report is not ready", delay=0.001)

    with pytest.raises(TaskFailed, match="the report is not ready; the budget is used up"):
        asking.apply_sync()


def test_a_failure_that_refuses_retries_ends_at_once(
    app: TestApp, worker: Worker, ledger: Ledger
) -> None:
    @task(retry=5, retry_delay=0.001)
    def final() -> None:
        ledger("ran")
        raise TaskFailed("no such account", retry=False)

    with pytest.raises(TaskFailed, match="no such account"):
        final.apply_sync()
    assert ledger.entries == ["ran"]


def test_only_the_exceptions_named_are_retried(
    app: TestApp, worker: Worker, ledger: Ledger
) -> None:
    @task(retry=2, retry_delay=0.001, retry_for=[OSError], no_retry_for=[FileNotFoundError])
    def picky(kind: str) -> None:
        ledger(kind)
        raise {"os": OSError, "file": FileNotFoundError, "value": ValueError}[kind](kind)

    for kind, error in (("os", OSError), ("file", FileNotFoundError), ("value", ValueError)):
        with pytest.raises(error):
            picky.apply_sync(kind)
    counts = {kind: ledger.entries.count(kind) for kind in ("os", "file", "value")}
    assert counts == {"os": 3, "file": 1, "value": 1}


def test_between_two_runs_the_state_is_retrying_and_the_error_is_shown(
    app: TestApp, worker: Worker
) -> None:
    @task(retry=1, retry_delay=30)
    def failing() -> None:
        raise ValueError("not yet")

    handle = failing.delay()
    eventually(lambda: app.state(handle) == "retrying")
    status = handle.status_sync()
    assert (status.status, status.state, status.attempts) == ("pending", "retrying", 1)
    assert status.error == "ValueError: not yet"
    assert status.is_terminal is False


def test_a_rejected_task_is_a_dead_letter_at_once(
    app: TestApp, worker: Worker, ledger: Ledger
) -> None:
    @task(retry=5)
    def rejecting() -> None:
        ledger("ran")
        raise Reject("not for us")

    handle = rejecting.delay()
    assert isinstance(handle.result(5, propagate=False), Reject)
    (letter,) = app.dead()
    assert letter.failure is not None
    assert letter.failure.reason == "rejected"
    assert ledger.entries == ["ran"]


@pytest.mark.parametrize("is_async", [False, True])
def test_an_exception_that_cannot_be_printed_ends_its_task_and_nothing_else(
    app: TestApp, worker: Worker, *, is_async: bool
) -> None:
    class Unprintable(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    @task(name="unprintable", retry=1, retry_delay=0.001)
    def plainly() -> None:
        raise Unprintable

    @task(name="unprintable_async", retry=1, retry_delay=0.001)
    async def natively() -> None:
        raise Unprintable

    handle = natively.delay() if is_async else plainly.delay()
    error = handle.result(5, propagate=False)
    assert "Unprintable" in str(error)
    assert len(app.dead()) == 1


@pytest.mark.parametrize("is_async", [False, True])
def test_a_rule_for_retries_that_raises_fails_its_task_and_not_the_worker(
    app: TestApp, workers: Workers, *, is_async: bool
) -> None:
    def broken(retries: int, error: BaseException) -> bool:
        raise KeyError("a mistake in the rule")

    @task(name="ruled", retry_when=broken)
    def plainly() -> None:
        raise ValueError("first")

    @task(name="ruled_async", retry_when=broken)
    async def natively() -> None:
        raise ValueError("first")

    @task
    def probe() -> str:
        return "alive"

    workers(concurrency=1)
    handle = natively.delay() if is_async else plainly.delay()
    assert handle.result(5, propagate=False) is not None
    assert app.state(handle) == "failed"
    assert probe.apply_sync() == "alive"


def test_each_change_of_state_is_one_log_line(
    app: TestApp, worker: Worker, ledger: Ledger, log_lines: Callable[[], list[dict[str, Any]]]
) -> None:
    @task(retry=1, retry_delay=0.001)
    def flaky() -> None:
        ledger("ran")
        if len(ledger) == 1:
            raise ValueError("once")

    handle = flaky.delay()
    handle.wait_sync(5)
    changes = [
        (line["from"], line["to"])
        for line in log_lines()
        if line.get("event") == "task state" and line["task_id"] == handle
    ]
    assert changes[-1] == ("running", "success")
    assert ("running", "retrying") in changes
    assert len(changes) == len(set(changes))
