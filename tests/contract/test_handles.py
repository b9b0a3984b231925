"""`TaskHandle` and `TaskStatus`: waiting, results, failures, revoking, states."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from cifra_jobs import (
    RemoteError,
    ResultExpired,
    ResultTooLarge,
    TaskFailed,
    TaskHandle,
    TaskNotFound,
    TaskRevoked,
    TaskStatus,
    WaitTimeout,
    WouldDeadlock,
    current_task,
    task,
)
from cifra_jobs.errors import EncodeError
from cifra_jobs.testing.assertions import eventually
from tests.contract.modules.classes import Odd, Secretive

if TYPE_CHECKING:
    from collections.abc import Callable

    from cifra_jobs.runtime.worker import Worker
    from tests.contract.kit import Gate, Ledger, TestApp, Workers


@pytest.fixture
def add(app: TestApp) -> Any:
    @task
    async def add(x: int, y: int = 1) -> int:
        return x + y

    return add


async def test_get_and_result_give_the_result_again_and_again(
    app: TestApp, worker: Worker, add: Any
) -> None:
    handle = await add.delay(1)
    assert await handle.get() == 2
    assert await handle.get(timeout=1) == 2
    assert handle.result() == 2
    assert handle.get_sync(1) == 2
    assert await TaskHandle(str(handle)).get() == 2
    assert await handle.wait() is handle
    assert handle.wait_sync() is handle


async def test_many_may_wait_for_one_task(app: TestApp, worker: Worker, gate: Gate) -> None:
    @task
    def work() -> int:
        gate.wait()
        return 5

    handle = await work.delay()
    waiting = [asyncio.ensure_future(TaskHandle[int](handle).get(10)) for _ in range(50)]
    await asyncio.sleep(0)
    gate.open()
    assert await asyncio.gather(*waiting) == [5] * 50


async def test_a_result_is_with_its_waiter_within_50_ms(app: TestApp, worker: Worker) -> None:
    @task
    async def work() -> float:
        await asyncio.sleep(0.05)
        return time.time()  # noqa: TID251 - compared with the waiter's own

    await work.apply()
    lags = []
    for _ in range(10):
        done = await work.apply()
        lags.append(time.time() - done)  # noqa: TID251 - see above
    assert sorted(lags)[5] < 0.05


async def test_waiting_too_long_is_wait_timeout_and_the_task_goes_on(
    app: TestApp, worker: Worker, gate: Gate
) -> None:
    @task
    def work() -> int:
        gate.wait()
        return 5

    handle = await work.delay()
    for wait in (handle.get, handle.wait):
        with pytest.raises(WaitTimeout, match=r"0\.05 s"):
            await wait(0.05)
    for wait_sync in (handle.result, handle.wait_sync):
        with pytest.raises(WaitTimeout):
            await asyncio.to_thread(wait_sync, 0.05)
    with pytest.raises(TimeoutError):
        await handle.get(0)
    gate.open()
    assert await handle.get(10) == 5


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        pytest.param(ValueError("why", 5), ValueError, id="built in"),
        pytest.param(KeyError("key"), KeyError, id="its text is not its argument"),
        pytest.param(Odd(5, "text"), Odd, id="a class of ours"),
        pytest.param(TaskFailed("no", retry=False), TaskFailed, id="TaskFailed"),
        pytest.param(OSError(2, "No such file"), FileNotFoundError, id="by its number"),
    ],
)
@pytest.mark.parametrize("is_async", [True, False], ids=["async", "thread"])
async def test_a_failed_tasks_own_exception_is_raised(
    app: TestApp, worker: Worker, error: Exception, kind: type[Exception], is_async: bool
) -> None:
    def plain() -> None:
        raise error

    async def coroutine() -> None:
        raise error

    work = task(name="work", retry=0)(coroutine if is_async else plain)
    handle = await work.delay()
    with pytest.raises(kind) as raised:
        await handle.get(10)
    assert type(raised.value) is kind
    assert raised.value.args == error.args
    assert str(raised.value) == str(error)
    with pytest.raises(kind):
        handle.result(10)
    assert any("on the worker" in note for note in raised.value.__notes__)


async def test_an_exception_that_cannot_be_rebuilt_is_a_remote_error(
    app: TestApp, worker: Worker
) -> None:
    class Local(Exception):
        """Nobody can import it."""

    @task(retry=0)
    def secretive() -> None:
        raise Secretive(code=5)

    @task(retry=0)
    def local() -> None:
        raise Local("local text")

    with pytest.raises(RemoteError, match="Secretive: code 5") as raised:
        await secretive.apply()
    assert raised.value.type_name == "tests.contract.modules.classes.Secretive"
    assert "raise Secretive(code=5)" in raised.value.remote_traceback
    with pytest.raises(RemoteError, match="Local: local text"):
        await local.apply()


async def test_the_cause_of_a_failure_travels_too(app: TestApp, worker: Worker) -> None:
    @task(retry=0)
    def work() -> None:
        try:
            raise KeyError("cause")
        except KeyError as error:
            raise ValueError("effect") from error

    with pytest.raises(ValueError, match="effect") as raised:
        await work.apply()
    assert isinstance(raised.value.__cause__, KeyError)


async def test_propagate_false_gives_the_exception(app: TestApp, worker: Worker, add: Any) -> None:
    @task(retry=0)
    def bad() -> Any:
        raise ValueError("why")

    handle = await bad.delay()
    assert isinstance(await handle.get(10, propagate=False), ValueError)
    assert isinstance(handle.result(10, propagate=False), ValueError)
    assert await handle.failed()
    assert handle.failed_sync()
    assert not await handle.successful()
    assert not handle.successful_sync()
    good = await add.delay(1)
    assert await good.get(10, propagate=False) == 2
    assert await good.successful()
    assert good.successful_sync()
    assert not await good.failed()


async def test_an_id_never_seen_is_task_not_found(app: TestApp) -> None:
    stranger: TaskHandle[None] = TaskHandle("stranger")
    for ask in (
        stranger.status,
        lambda: TaskStatus.get("stranger"),
        stranger.revoke,
        stranger.get,
        stranger.wait,
    ):
        with pytest.raises(TaskNotFound, match="stranger"):
            await ask()
    for ask_sync in (
        stranger.status_sync,
        stranger.result,
        lambda: TaskStatus.get_sync("stranger"),
        stranger.revoke_sync,
    ):
        with pytest.raises(TaskNotFound, match="stranger"):
            ask_sync()


# -- results -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [{"store_result": False}, {"ignore_result": True}], ids=["store", "ignore"]
)
@pytest.mark.parametrize("where", ["decorator", "call"])
def test_a_result_that_nobody_keeps_is_none(
    app: TestApp, worker: Worker, options: dict[str, Any], where: str
) -> None:
    @task(**(options if where == "decorator" else {}))
    def work() -> int:
        return 5

    handle = work.apply_async(**(options if where == "call" else {}))
    assert handle.result(10) is None
    status = handle.status_sync()
    assert (status.state, status.result, status.result_expired) == ("success", None, False)


def test_a_result_is_gone_after_result_expires(app: TestApp, worker: Worker) -> None:
    @task(result_expires=0.3)
    def work() -> int:
        return 5

    handle = work.delay()
    assert handle.result(10) == 5
    eventually(lambda: handle.status_sync().result_expired, timeout=5)
    status = handle.status_sync()
    assert (status.status, status.result) == ("success", None)
    with pytest.raises(ResultExpired):
        handle.result(10)


def test_a_result_lives_as_long_as_the_settings_say(
    make_app: Callable[..., TestApp], new_workers: Callable[[TestApp], Workers]
) -> None:
    app = make_app(result_backend={"expires": 0.3})

    @task
    def work() -> int:
        return 5

    new_workers(app)()
    handle = work.delay()
    handle.result(10)
    eventually(lambda: handle.status_sync().result_expired, timeout=5)


def test_a_result_that_cannot_travel_fails_the_task_without_a_retry(
    app: TestApp, worker: Worker, ledger: Ledger
) -> None:
    @task(retry=3)
    def odd() -> Any:
        ledger("ran")
        return object()

    with pytest.raises(EncodeError, match="the result of odd"):
        odd.apply_sync()
    assert len(ledger) == 1


def test_a_result_that_is_too_large_fails_the_task_without_a_retry(
    make_app: Callable[..., TestApp],
    new_workers: Callable[[TestApp], Workers],
    ledger: Ledger,
) -> None:
    app = make_app(result_backend={"max_result_size": "10KB"})

    @task(retry=3)
    def large(size: int) -> str:
        ledger("ran")
        return "x" * size

    new_workers(app)()
    assert len(large.apply_sync(9_000)) == 9_000
    with pytest.raises(ResultTooLarge, match="max_result_size"):
        large.apply_sync(11_000)
    assert len(ledger) == 2


# -- status ------------------------------------------------------------------------------------


async def test_a_status_tells_the_whole_story(
    app: TestApp, worker: Worker, gate: Gate, ledger: Ledger
) -> None:
    @task(priority=7)
    def work() -> dict[str, int]:
        ledger("began")
        gate.wait()
        return {"x": 1}

    before = datetime.now(UTC) - timedelta(milliseconds=2)
    handle = await work.delay()
    await asyncio.to_thread(ledger.wait, 1)
    await asyncio.to_thread(lambda: eventually(lambda: handle.status_sync().status == "running"))
    running = await TaskStatus.get(handle)
    assert (running.state, running.is_terminal, running.attempts) == ("running", False, 1)
    assert running.worker
    gate.open()
    await handle.wait(10)
    status = await handle.status()
    assert (status.id, status.task_name, status.queue) == (handle, "work", app.queue)
    assert (status.status, status.state, status.is_terminal) == ("success", "success", True)
    assert (status.result, status.error, status.traceback) == ({"x": 1}, None, None)
    assert (status.attempts, status.priority) == (1, 7)
    moments = [before, status.created_at, status.started_at, status.finished_at]
    assert None not in moments
    assert moments == sorted(moments)  # type: ignore[type-var]
    assert status.execution_time is not None
    assert 0 <= status.execution_time < 10
    shown = status.as_dict()
    assert json.loads(json.dumps(shown)) == shown
    assert shown["is_terminal"] is True
    assert shown["created_at"].endswith("+00:00")


async def test_states_of_a_failure(app: TestApp, worker: Worker) -> None:
    @task(retry=1, retry_delay=0.1)
    def work() -> None:
        raise ValueError("why")

    handle = await work.delay()
    seen = []
    async with asyncio.timeout(10):
        async for status in handle.follow():
            assert status.status in ("pending", "running", "success", "failed")
            seen.append(status.state)
    assert seen[-1] == "failed"
    assert "retrying" in seen
    # The last one is the whole record: times and counts too.
    assert status == await handle.status()
    assert status.finished_at is not None
    assert (status.error, status.error_type) == ("ValueError: why", "builtins.ValueError")
    assert "Traceback" in str(status.traceback)
    assert status.attempts == 2


async def test_typed_results_are_plain_json_for_front_ends(app: TestApp, worker: Worker) -> None:
    from uuid import UUID

    @task
    def work() -> Any:
        return {"id": UUID(int=5), "at": datetime(2026, 1, 1, tzinfo=UTC), "set": {1}}

    handle = await work.delay()
    await handle.wait(10)
    status = await handle.status()
    assert status.result["id"] == UUID(int=5)
    assert status.as_dict()["result"] == {
        "id": "00000000-0000-0000-0000-000000000005",
        "at": "2026-01-01T00:00:00+00:00",
        "set": [1],
    }


# -- revoking ----------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"countdown": 0.3}], ids=["waiting", "scheduled"])
async def test_a_waiting_task_can_be_revoked_before_any_worker_is_up(
    app: TestApp, workers: Workers, ledger: Ledger, options: dict[str, Any]
) -> None:
    @task
    def work() -> None:
        ledger("ran")

    handle = await work.apply_async(**options)
    assert await handle.revoke()
    workers()
    with pytest.raises(TaskRevoked):
        await handle.get(10)
    status = await handle.status()
    assert (status.status, status.state) == ("failed", "revoked")
    assert not await handle.revoke()
    await asyncio.to_thread(lambda: eventually(lambda: app.ready() == 0))
    assert len(ledger) == 0


@pytest.mark.parametrize("is_async", [True, False], ids=["async", "thread"])
def test_a_running_task_can_be_told_to_stop(
    app: TestApp, worker: Worker, ledger: Ledger, is_async: bool
) -> None:
    async def coroutine() -> None:
        ledger("began")
        try:
            await asyncio.Event().wait()
        finally:
            ledger("tidied up")

    def plain() -> None:
        ledger("began")
        try:
            while True:
                threading.Event().wait(0.01)
        finally:
            ledger("tidied up")

    handle = task(name="work")(coroutine if is_async else plain).delay()
    ledger.wait(1)
    assert handle.revoke_sync(terminate=True)
    with pytest.raises(TaskRevoked):
        handle.result(10)
    assert ledger.wait(2) == ["began", "tidied up"]


def test_a_running_task_can_look_whether_it_was_revoked(
    app: TestApp, worker: Worker, ledger: Ledger
) -> None:
    @task
    def work() -> str:
        ledger(current_task.is_cancelled())
        while not current_task.is_cancelled():
            threading.Event().wait(0.01)
        ledger("saw it")
        return "left early"

    handle = work.delay()
    assert ledger.wait(1) == [False]
    handle.revoke_sync()
    ledger.wait(2)


def test_revoking_what_has_ended_changes_nothing(app: TestApp, worker: Worker, add: Any) -> None:
    handle = add.delay(1)
    assert handle.result(10) == 2
    assert not handle.revoke_sync()
    assert handle.status_sync().state == "success"


# -- waiting inside a task ---------------------------------------------------------------------


async def test_a_handle_awaited_inside_a_task_lends_its_slot(
    app: TestApp, workers: Workers
) -> None:
    @task
    async def leaf(n: int) -> int:
        return n

    @task
    async def branch(n: int) -> int:
        return n if n == 0 else await branch.apply(n - 1) + await leaf.apply(1)

    workers(concurrency=1)
    assert await (await branch.delay(5)).get(20) == 5


@pytest.mark.parametrize("is_async", [True, False], ids=["in async", "in a thread"])
def test_blocking_where_no_slot_could_free_is_would_deadlock(
    app: TestApp, workers: Workers, is_async: bool
) -> None:
    @task
    async def other() -> int:
        return 5

    def plain() -> int:
        return other.apply_sync()

    async def coroutine() -> int:
        return other.apply_sync()

    workers(concurrency=1)
    work = task(name="work", retry=0)(coroutine if is_async else plain)
    with pytest.raises(WouldDeadlock):
        work.delay().result(10)


def test_an_async_task_that_blocks_its_loop_for_another_is_told(
    app: TestApp, workers: Workers
) -> None:
    @task
    async def other() -> int:
        return 5

    @task(retry=0)
    async def work() -> int:
        return other.delay().result()

    workers(concurrency=8)
    with pytest.raises(WouldDeadlock, match="await"):
        work.delay().result(10)


def test_a_thread_may_wait_where_a_slot_is_left(app: TestApp, workers: Workers) -> None:
    @task
    async def other() -> int:
        return 5

    @task
    def work() -> int:
        return other.apply_sync()

    workers(concurrency=2)
    assert work.apply_sync() == 5


def test_each_change_of_state_is_one_log_line(
    app: TestApp, worker: Worker, log_lines: Callable[[], list[dict[str, Any]]]
) -> None:
    @task(retry=1, retry_delay=0.05)
    async def work() -> str:
        await asyncio.sleep(0.05)
        if current_task.request.retries == 0:
            raise ValueError("again")
        return "done"

    handle = work.delay()
    handle.wait_sync(10)
    lines = [line for line in log_lines() if line["event"] == "task state"]
    assert {(line["task_id"], line["task"]) for line in lines} == {(handle, "work")}
    assert [(line["from"], line["to"]) for line in lines] == [
        ("queued", "running"),
        ("running", "retrying"),
        ("queued", "running"),
        ("running", "success"),
    ]
