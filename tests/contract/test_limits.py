"""Limits of one run: ``timeout``, ``soft_timeout``; and of waiting: ``expires``."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from cifra_jobs import OptionError, SoftTimeout, TaskExpired, TaskTimeout, task

if TYPE_CHECKING:
    from collections.abc import Callable

    from cifra_jobs.runtime.worker import Worker
    from tests.contract.kit import Ledger, TestApp, Workers

IN_BOTH = pytest.mark.parametrize("is_async", [True, False], ids=["async", "thread"])


def spin(seconds: float = 20) -> None:
    """Python code that holds its thread until it is interrupted."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        threading.Event().wait(0.001)


def in_kind(
    is_async: bool, body: Callable[[], Any], tidy: Callable[[], None]
) -> Callable[..., Any]:
    """A function that hangs, and tidies up whatever stops it."""

    def plain() -> None:
        try:
            spin()
        finally:
            tidy()

    async def coroutine() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            tidy()

    return coroutine if is_async else plain


@IN_BOTH
def test_a_run_past_its_timeout_fails_after_its_cleanup_code(
    app: TestApp, worker: Worker, ledger: Ledger, is_async: bool
) -> None:
    body = in_kind(is_async, spin, lambda: ledger("tidied up"))
    work = task(name="work", timeout=0.2, retry=0)(body)
    handle = work.delay()
    with pytest.raises(TaskTimeout, match=r"0\.2 s"):
        handle.result(10)
    assert ledger.entries == ["tidied up"]
    status = handle.status_sync()
    assert (status.state, status.attempts) == ("failed", 1)
    assert "TaskTimeout" in str(status.error)
    assert "in plain" in str(status.traceback) or "in coroutine" in str(status.traceback)


@IN_BOTH
def test_a_timeout_may_come_with_the_call(
    app: TestApp, worker: Worker, ledger: Ledger, is_async: bool
) -> None:
    work = task(name="work", retry=0)(in_kind(is_async, spin, lambda: ledger("tidied up")))
    with pytest.raises(TaskTimeout):
        work.apply_async(timeout=timedelta(milliseconds=100)).result(10)


@IN_BOTH
def test_swallowing_the_timeout_is_a_timeout_all_the_same(
    app: TestApp, worker: Worker, is_async: bool
) -> None:
    def plain() -> str:
        with contextlib.suppress(Exception):
            spin()
        return "as if nothing were"

    async def coroutine() -> str:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return "as if nothing were"

    work = task(name="work", timeout=0.1, retry=0)(coroutine if is_async else plain)
    with pytest.raises(TaskTimeout):
        work.delay().result(10)


@IN_BOTH
def test_turning_the_timeout_into_another_error_keeps_it_as_the_cause(
    app: TestApp, worker: Worker, is_async: bool
) -> None:
    def plain() -> None:
        try:
            spin()
        except TaskTimeout:
            raise ValueError("while tidying up") from None

    async def coroutine() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError("while tidying up")

    work = task(name="work", timeout=0.1, retry=0)(coroutine if is_async else plain)
    with pytest.raises(TaskTimeout) as failed:
        work.delay().result(10)
    assert isinstance(failed.value.__cause__, ValueError)


@IN_BOTH
def test_a_soft_timeout_is_raised_inside_the_task(
    app: TestApp, worker: Worker, ledger: Ledger, is_async: bool
) -> None:
    def plain() -> str:
        try:
            spin()
        except SoftTimeout:
            ledger("soft")
        return "tidied up"

    async def coroutine() -> str:
        try:
            await asyncio.Event().wait()
        except SoftTimeout:
            ledger("soft")
        await asyncio.sleep(0)
        return "tidied up"

    work = task(name="work", soft_timeout=0.1, timeout=10, retry=0)(
        coroutine if is_async else plain
    )
    assert work.delay().result(10) == "tidied up"
    assert ledger.entries == ["soft"]


@IN_BOTH
def test_a_soft_timeout_that_nobody_catches_is_the_error(
    app: TestApp, worker: Worker, ledger: Ledger, is_async: bool
) -> None:
    work = task(name="work", soft_timeout=0.1, retry=0)(
        in_kind(is_async, spin, lambda: ledger("tidied up"))
    )
    with pytest.raises(SoftTimeout):
        work.delay().result(10)
    assert ledger.entries == ["tidied up"]


@IN_BOTH
def test_the_hard_limit_holds_after_a_soft_one_that_was_not_heard(
    app: TestApp, worker: Worker, ledger: Ledger, is_async: bool
) -> None:
    def plain() -> None:
        with contextlib.suppress(SoftTimeout):
            spin()
        ledger("soft")
        spin()

    async def coroutine() -> None:
        with contextlib.suppress(SoftTimeout):
            await asyncio.Event().wait()
        ledger("soft")
        await asyncio.Event().wait()

    work = task(name="work", soft_timeout=0.1, timeout=0.3, retry=0)(
        coroutine if is_async else plain
    )
    with pytest.raises(TaskTimeout):
        work.delay().result(10)
    assert ledger.entries == ["soft"]


@IN_BOTH
def test_a_time_limit_that_is_over_hits_no_other_task(
    workers: Workers, app: TestApp, ledger: Ledger, is_async: bool
) -> None:
    def plain(i: int) -> int:
        return i

    async def coroutine(i: int) -> int:
        return i

    work = task(name="work", timeout=0.05, soft_timeout=0.04, retry=0)(
        coroutine if is_async else plain
    )

    @task(retry=0)
    def long() -> str:
        spin(0.3)
        return "long"

    workers(concurrency=1)
    handles = [work.delay(i) for i in range(5)]
    assert [handle.result(10) for handle in handles] == list(range(5))
    assert long.delay().result(10) == "long"


async def test_cancelling_its_own_children_is_no_timeout(app: TestApp, worker: Worker) -> None:
    @task(timeout=5, soft_timeout=4, retry=0)
    async def work() -> str:
        try:
            async with asyncio.timeout(0.02):
                await asyncio.Event().wait()
        except TimeoutError:
            return "its own"
        return "none"

    assert await work.apply() == "its own"


# -- expires -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spelled",
    [
        {"expires": 0.05},
        {"expires": timedelta(milliseconds=50)},
        {"max_age": 50},
        {"expires": 0},
    ],
    ids=str,
)
@pytest.mark.parametrize("where", ["decorator", "call", "settings"])
def test_a_run_that_would_start_too_late_is_dropped_as_expired(
    make_app: Callable[..., TestApp],
    new_workers: Callable[[TestApp], Workers],
    ledger: Ledger,
    spelled: dict[str, Any],
    where: str,
) -> None:
    app = make_app(task_defaults=spelled if where == "settings" else {})

    @task(**(spelled if where == "decorator" else {}))
    def work() -> None:
        ledger("ran")

    handle = work.apply_async(**(spelled if where == "call" else {}))
    threading.Event().wait(0.08)
    new_workers(app)()
    with pytest.raises(TaskExpired, match="after its expiry"):
        handle.result(10)
    status = handle.status_sync()
    assert (status.status, status.state, status.attempts) == ("failed", "expired", 0)
    assert len(ledger) == 0
    assert app.dead() == []


def test_what_starts_in_time_runs(app: TestApp, worker: Worker) -> None:
    @task(expires=60)
    def work() -> str:
        return "ran"

    assert work.apply_sync() == "ran"
    assert work.apply_async(expires=datetime.now(UTC) + timedelta(minutes=1)).result(10) == "ran"


def test_expires_may_be_a_moment(app: TestApp, workers: Workers, ledger: Ledger) -> None:
    @task
    def work() -> None:
        ledger("ran")

    past = [
        datetime.now(UTC) - timedelta(seconds=1),
        datetime.now(),  # noqa: DTZ005 - a naive one is in the process's local zone
        datetime.now(UTC).astimezone() - timedelta(seconds=1),
    ]
    handles = [work.apply_async(expires=moment) for moment in past]
    workers()
    for handle in handles:
        with pytest.raises(TaskExpired):
            handle.result(10)


@pytest.mark.parametrize("bad", ["tomorrow", -1, True, [5]], ids=str)
def test_an_expiry_that_cannot_be_is_refused_at_the_call(app: TestApp, bad: Any) -> None:
    @task
    def work() -> None: ...

    with pytest.raises(OptionError, match="expires"):
        work.apply_async(expires=bad)


def test_expired_messages_are_kept_where_the_settings_say_so(
    make_app: Callable[..., TestApp], new_workers: Callable[[TestApp], Workers]
) -> None:
    app = make_app(dead_letter_expired=True)

    @task(expires=0)
    def work() -> None: ...

    handle = work.delay()
    new_workers(app)()
    handle.wait_sync(10)
    (dead,) = app.dead()
    assert dead.failure is not None
    assert (dead.failure.reason, dead.failure.id) == ("expired", handle)
