"""Failures: budgets, back-off, and the exceptions with which a task decides by itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from cifra_jobs import (
    Ignore,
    Reject,
    TaskFailed,
    TaskRetry,
    TaskSkipped,
    current_task,
    task,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from cifra_jobs.runtime.worker import Worker
    from tests.contract.kit import Ledger, TestApp, Workers


def delays_told(lines: Callable[[], list[dict[str, Any]]], task_id: str) -> list[float]:
    """The delays of the retries of a task, as its log lines tell them."""
    return [
        line["delay_s"]
        for line in lines()
        if line["event"] == "task state" and line["task_id"] == task_id and line["to"] == "retrying"
    ]


@pytest.mark.parametrize("is_async", [True, False], ids=["async", "thread"])
def test_retry_is_the_number_of_runs_after_the_first(
    app: TestApp, worker: Worker, ledger: Ledger, is_async: bool
) -> None:
    def body() -> None:
        ledger(current_task.request.retries)
        raise ValueError("again")

    async def coroutine() -> None:
        body()

    work = task(name="work", retry=2, retry_delay=0)(coroutine if is_async else body)
    handle = work.delay()
    with pytest.raises(ValueError, match="again"):
        handle.result(10)
    assert ledger.entries == [0, 1, 2]
    status = handle.status_sync()
    assert (status.status, status.state, status.attempts) == ("failed", "failed", 3)
    (dead,) = app.dead()
    assert dead.failure is not None
    assert dead.failure.reason == "retries_exhausted"
    assert dead.failure.attempts == 3


def test_without_a_budget_one_failure_is_final(
    app: TestApp, worker: Worker, ledger: Ledger
) -> None:
    @task(retry=0)
    def work() -> None:
        ledger("ran")
        raise ValueError("once")

    with pytest.raises(ValueError, match="once"):
        work.apply_sync()
    assert ledger.entries == ["ran"]


def test_the_budget_may_come_with_the_call(app: TestApp, worker: Worker, ledger: Ledger) -> None:
    @task(retry=0)
    def work() -> int:
        ledger("ran")
        if len(ledger) < 3:
            raise ValueError("again")
        return len(ledger)

    handle = work.apply_async(retry=2, retry_delay=timedelta(0))
    assert handle.result(10) == 3


@pytest.mark.parametrize(
    ("options", "delays"),
    [
        pytest.param({}, [0.02, 0.04, 0.08], id="doubling from the settings"),
        pytest.param({"retry_delay": 0.01}, [0.01, 0.02, 0.04], id="doubling"),
        pytest.param({"retry_delay": 0.01, "retry_backoff": False}, [0.01] * 3, id="constant"),
        pytest.param(
            {"retry_delay": 0.01, "retry_backoff_max": 0.015}, [0.01, 0.015, 0.015], id="capped"
        ),
        pytest.param({"min_backoff": 10, "max_backoff": 15}, [0.01, 0.015, 0.015], id="dramatiq"),
    ],
)
def test_delays_grow_as_the_options_say(
    app: TestApp,
    worker: Worker,
    log_lines: Callable[[], list[dict[str, Any]]],
    options: dict[str, Any],
    delays: list[float],
) -> None:
    @task(**options)
    def work() -> None:
        raise ValueError("again")

    handle = work.delay()
    handle.wait_sync(10)
    assert delays_told(log_lines, handle) == delays


def test_jitter_draws_each_delay_from_its_whole_length(
    app: TestApp, worker: Worker, log_lines: Callable[[], list[dict[str, Any]]]
) -> None:
    @task(retry=6, retry_delay=0.05, retry_backoff=True, retry_backoff_max=0.05, retry_jitter=True)
    def work() -> None:
        raise ValueError("again")

    handle = work.delay()
    handle.wait_sync(10)
    delays = delays_told(log_lines, handle)
    assert len(delays) == 6
    assert all(0 <= delay <= 0.05 for delay in delays)
    assert len(set(delays)) > 1


def test_jitter_spreads_a_constant_delay_too(
    app: TestApp, worker: Worker, log_lines: Callable[[], list[dict[str, Any]]]
) -> None:
    @task(retry=6, retry_delay=0.05, retry_backoff=False, retry_jitter=True)
    def work() -> None:
        raise ValueError("again")

    handle = work.delay()
    handle.wait_sync(10)
    assert len(set(delays_told(log_lines, handle))) > 1


def test_the_documented_delays_are_one_two_and_four_minutes(
    make_app: Callable[..., TestApp],
    new_workers: Callable[[TestApp], Workers],
    log_lines: Callable[[], list[dict[str, Any]]],
) -> None:
    app = make_app(retry={"default_retry_delay": 60})

    @task(retry=3, retry_delay=60)
    def work() -> None:
        raise ValueError("again")

    new_workers(app)()
    handle = work.delay()
    news = handle_news(handle, "retrying")
    assert news.state == "retrying"
    assert news.status == "pending"
    assert delays_told(log_lines, handle) == [60.0]
    status = handle.status_sync()
    assert status.eta is not None
    assert 50 < (status.eta - datetime.now(UTC)).total_seconds() <= 60
    assert status.started_at is not None


def handle_news(handle: Any, state: str) -> Any:
    """The status once the task is in a state."""
    import asyncio

    async def follow() -> Any:
        async for status in handle.follow():
            if status.state == state:
                return status
        return None

    async def within() -> Any:
        async with asyncio.timeout(10):
            return await follow()

    return asyncio.run(within())


# -- what the task raises ----------------------------------------------------------------------


def test_task_retry_runs_again_after_its_own_delay(
    app: TestApp, worker: Worker, ledger: Ledger, log_lines: Callable[[], list[dict[str, Any]]]
) -> None:
    @task(retry=3, retry_delay=60)
    def work() -> int:
        ledger(current_task.request.retries)
        if len(ledger) == 1:
            raise TaskRetry(delay=0.03)
        if len(ledger) == 2:
            raise TaskRetry("later", countdown=0.01)
        if len(ledger) == 3:
            raise TaskRetry(delay=timedelta(milliseconds=20))
        return len(ledger)

    handle = work.delay()
    assert handle.result(10) == 4
    assert ledger.entries == [0, 1, 2, 3]
    assert delays_told(log_lines, handle) == [0.03, 0.01, 0.02]


def test_task_retry_without_a_delay_uses_the_back_off(
    app: TestApp, worker: Worker, log_lines: Callable[[], list[dict[str, Any]]]
) -> None:
    @task(retry=2, retry_delay=0.01)
    def work() -> None:
        raise TaskRetry

    handle = work.delay()
    handle.wait_sync(10)
    assert delays_told(log_lines, handle) == [0.01, 0.02]


@pytest.mark.parametrize("delay", [-1, "soon", float("nan"), True], ids=str)
def test_a_delay_that_cannot_be_is_a_failure_of_the_task_that_says_so(
    app: TestApp, worker: Worker, delay: Any
) -> None:
    @task(retry=0)
    def work() -> None:
        raise TaskRetry(delay=delay)

    with pytest.raises(Exception, match="delay") as refused:
        work.delay().result(10)
    assert "seconds" in str(refused.value)


def test_task_retry_uses_up_the_budget_and_then_fails_with_its_cause(
    app: TestApp, worker: Worker, ledger: Ledger
) -> None:
    @task(retry=1)
    def with_exc() -> None:
        ledger("with_exc")
        raise TaskRetry(delay=0, exc=ValueError("the reason"))

    @task(retry=1)
    async def with_from() -> None:
        try:
            raise OSError("the reason")
        except OSError as error:
            raise TaskRetry(delay=0) from error

    @task(retry=1)
    def with_context() -> None:
        try:
            raise KeyError("reason")
        except KeyError:
            raise TaskRetry(delay=0)  # noqa: B904 - as the platform's documentation writes it

    @task(retry=1)
    async def without() -> None:
        raise TaskRetry("no answer", delay=0)

    with pytest.raises(ValueError, match="the reason"):
        with_exc.apply_sync()
    assert ledger.entries == ["with_exc"] * 2
    with pytest.raises(OSError, match="the reason"):
        with_from.apply_sync()
    with pytest.raises(KeyError):
        with_context.apply_sync()
    with pytest.raises(TaskFailed, match=r"no answer.*budget"):
        without.apply_sync()


def test_current_task_retry_runs_again(
    app: TestApp, worker: Worker, ledger: Ledger, log_lines: Callable[[], list[dict[str, Any]]]
) -> None:
    @task(retry=2)
    async def work(self: Any) -> str:
        ledger(self.request.retries)
        if self.request.retries == 0:
            self.retry(delay=0.01)
        if self.request.retries == 1:
            try:
                raise ValueError("why")
            except ValueError as error:
                raise self.retry(exc=error, countdown=0.02)  # noqa: B904 - Celery's way
        return "done"

    handle = work.delay()  # type: ignore[call-arg]  # the worker gives self
    assert handle.result(10) == "done"
    assert ledger.entries == [0, 1, 2]
    assert delays_told(log_lines, handle) == [0.01, 0.02]


def test_task_failed_without_retry_is_final_at_once(
    app: TestApp, worker: Worker, ledger: Ledger
) -> None:
    @task(retry=3)
    async def final() -> None:
        ledger("final")
        raise TaskFailed("no money", retry=False)

    @task(retry=1, retry_delay=0)
    async def not_final() -> None:
        ledger("not final")
        raise TaskFailed("no money")

    with pytest.raises(TaskFailed, match="no money"):
        final.apply_sync()
    with pytest.raises(TaskFailed, match="no money"):
        not_final.apply_sync()
    assert ledger.entries == ["final", "not final", "not final"]


def test_ignore_ends_as_skipped(app: TestApp, worker: Worker, ledger: Ledger) -> None:
    @task(retry=3)
    def work() -> None:
        ledger("ran")
        raise Ignore("nothing to do")

    handle = work.delay()
    with pytest.raises(TaskSkipped, match="nothing to do"):
        handle.result(10)
    status = handle.status_sync()
    assert (status.status, status.state) == ("failed", "skipped")
    assert ledger.entries == ["ran"]
    assert app.dead() == []


def test_reject_fails_at_once_and_keeps_the_message(
    app: TestApp, worker: Worker, ledger: Ledger
) -> None:
    @task(retry=3)
    async def work(x: int) -> None:
        ledger("ran")
        raise Reject("cannot be read")

    handle = work.delay(5)
    with pytest.raises(Reject, match="cannot be read"):
        handle.result(10)
    assert handle.status_sync().state == "failed"
    assert ledger.entries == ["ran"]
    (dead,) = app.dead()
    assert dead.failure is not None
    assert (dead.failure.reason, dead.failure.id) == ("rejected", handle)


# -- which exceptions retry --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "runs"),
    [
        pytest.param({"retry_for": OSError}, 2, id="its base class retries"),
        pytest.param({"retry_for": (KeyError, ConnectionError)}, 2, id="itself retries"),
        pytest.param({"retry_for": ValueError}, 1, id="another retries"),
        pytest.param({"no_retry_for": OSError}, 1, id="its base class does not"),
        pytest.param({"throws": ConnectionError}, 1, id="dramatiq's throws"),
        pytest.param({"no_retry_for": ValueError}, 2, id="another does not"),
        pytest.param({"retry_for": OSError, "no_retry_for": ConnectionError}, 1, id="both"),
        pytest.param({"retry_when": lambda retries, error: "net" in str(error)}, 2, id="when so"),
        pytest.param({"retry_when": lambda retries, error: False}, 1, id="when not"),
    ],
)
def test_only_the_chosen_exceptions_retry(
    app: TestApp, worker: Worker, ledger: Ledger, options: dict[str, Any], runs: int
) -> None:
    @task(retry=1, retry_delay=0, **options)
    async def work() -> None:
        ledger("ran")
        raise ConnectionError("no net")

    with pytest.raises(ConnectionError):
        work.delay().result(10)
    assert len(ledger) == runs


def test_a_timeout_may_be_retried(app: TestApp, worker: Worker, ledger: Ledger) -> None:
    @task(retry=1, retry_delay=0, timeout=0.1)
    async def work(gate: int = 0) -> str:
        import asyncio

        ledger("ran")
        if len(ledger) == 1:
            await asyncio.Event().wait()
        return "done"

    assert work.delay().result(10) == "done"
    assert len(ledger) == 2


@pytest.mark.parametrize("is_async", [True, False], ids=["async", "thread"])
def test_an_exit_of_a_task_is_a_failure_like_any_other(
    app: TestApp, worker: Worker, is_async: bool
) -> None:
    def leave() -> None:
        raise SystemExit(3)

    async def coroutine() -> None:
        leave()

    work = task(name="work", retry=0)(coroutine if is_async else leave)
    handle = work.delay()
    with pytest.raises(Exception, match="SystemExit"):
        handle.result(10)
    assert handle.status_sync().state == "failed"

    @task
    def alive() -> str:
        return "alive"

    assert alive.apply_sync() == "alive"
