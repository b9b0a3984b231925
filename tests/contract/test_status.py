"""What a status says in each state, and what ``get()`` raises."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from cifra_jobs import (
    Ignore,
    RemoteError,
    ResultExpired,
    ResultTooLarge,
    TaskFailed,
    TaskSkipped,
    TaskStatus,
    TaskTimeout,
    current_task,
    task,
)
from cifra_jobs.testing.assertions import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from cifra_jobs.runtime.worker import Worker
    from tests.contract.kit import Gate, Ledger, TestApp, Workers


class OrderError(Exception):
    """An exception with arguments of its own."""

    def __init__(self, order: int, reason: str) -> None:
        super().__init__(order, reason)
        self.order = order


def test_a_status_tells_the_whole_story_of_a_success(
    app: TestApp, worker: Worker, ledger: Ledger, gate: Gate
) -> None:
    @task(priority=7)
    def work(x: int) -> dict[str, int]:
        ledger("began")
        gate.wait()
        return {"x": x}

    handle = work.delay(1)
    ledger.wait(1)
    running = eventually(
        lambda: status if (status := handle.status_sync()).state == "running" else None
    )
    assert running is not None
    assert (running.status, running.is_terminal, running.attempts) == ("running", False, 1)
    gate.open()
    assert handle.result(5) == {"x": 1}
    status = handle.status_sync()
    assert (status.status, status.state, status.is_terminal) == ("success", "success", True)
    assert (status.task_name, status.queue, status.priority) == ("work", app.queue, 7)
    assert status.result == {"x": 1}
    assert status.created_at is not None
    assert status.started_at is not None
    assert status.finished_at is not None
    assert status.created_at <= status.started_at <= status.finished_at <= datetime.now(UTC)
    assert status.execution_time == pytest.approx(
        (status.finished_at - status.started_at).total_seconds()
    )
    assert handle.successful_sync() is True
    assert handle.failed_sync() is False


@pytest.mark.parametrize(
    ("error", "expected", "state"),
    [
        (ValueError("bad"), ValueError, "failed"),
        (OrderError(7, "no stock"), OrderError, "failed"),
        (TaskFailed("no", retry=False), TaskFailed, "failed"),
        (Ignore("not now"), TaskSkipped, "skipped"),
        (KeyError("k"), KeyError, "failed"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "odd"), UnicodeDecodeError, "failed"),
    ],
)
def test_get_raises_the_task_s_own_exception(
    app: TestApp, worker: Worker, error: Exception, expected: type[Exception], state: str
) -> None:
    @task(retry=0)
    def work() -> None:
        raise error

    handle = work.delay()
    with pytest.raises(expected) as caught:
        handle.result(5)
    if expected is type(error):
        assert caught.value.args == error.args
    status = handle.status_sync()
    assert (status.status, status.state, status.is_terminal) == ("failed", state, True)
    assert status.error
    assert handle.failed_sync() is True


def test_an_exception_whose_class_is_not_here_is_a_remote_error(
    app: TestApp, worker: Worker
) -> None:
    @task(retry=0)
    def work() -> None:
        class Local(Exception):
            pass

        raise Local("only there")

    with pytest.raises(RemoteError, match=r"Local.*only there") as caught:
        work.delay().result(5)
    assert "raise Local" in caught.value.remote_traceback


def test_a_timeout_is_raised_as_such(app: TestApp, worker: Worker) -> None:
    @task(retry=0, timeout=0.05)
    async def work() -> None:
        import asyncio

        await asyncio.sleep(10)

    with pytest.raises(TaskTimeout, match=r"0\.05"):
        work.delay().result(5)


def test_a_failure_is_returned_where_that_is_asked(app: TestApp, worker: Worker) -> None:
    @task(retry=0)
    def work() -> None:
        raise ValueError("bad")

    error = work.delay().result(5, propagate=False)
    assert isinstance(error, ValueError)
    assert any("on the worker" in note for note in error.__notes__)


def test_a_result_past_its_time_is_gone_and_the_success_is_not(
    app: TestApp, worker: Worker
) -> None:
    @task(result_expires=0.05)
    def work() -> str:
        return "short-lived"

    handle = work.delay()
    handle.wait_sync(5)
    status = eventually(lambda: status if (status := handle.status_sync()).result_expired else None)
    assert status is not None
    assert (status.status, status.result) == ("success", None)
    with pytest.raises(ResultExpired):
        handle.result(1)


def test_a_task_that_stores_no_result_gives_none(app: TestApp, worker: Worker) -> None:
    @task(store_result=False)
    def work() -> str:
        return "for nobody"

    handle = work.delay()
    assert handle.result(5) is None
    assert handle.status_sync().status == "success"


def test_a_result_over_the_limit_fails_its_task_without_a_retry(
    make_app: Callable[..., TestApp], new_workers: Callable[[TestApp], Workers], ledger: Ledger
) -> None:
    app = make_app(result_backend={"max_result_size": 1000})

    @task(retry=3)
    def work(size: int) -> str:
        ledger(size)
        return "x" * size

    new_workers(app)()
    assert work.apply_sync(900) == "x" * 900
    with pytest.raises(ResultTooLarge, match="max_result_size"):
        work.apply_sync(1000)
    assert ledger.entries == [900, 1000]


def test_a_result_that_has_no_json_form_fails_its_task(app: TestApp, worker: Worker) -> None:
    @task(retry=3)
    def work() -> Any:
        return object()

    with pytest.raises(TypeError, match="the result of work"):
        work.apply_sync()


@pytest.mark.parametrize("size", [10, 100_000])
def test_a_callback_gets_the_result_whatever_its_size(
    app: TestApp, worker: Worker, ledger: Ledger, size: int
) -> None:
    @task
    def after(task_id: str, result: str) -> None:
        ledger(task_id, len(result), current_task.request.parent_id)

    @task(on_success=after)
    def work() -> str:
        return "x" * size

    handle = work.delay()
    assert ledger.wait(1) == [(str(handle), size, str(handle))]


def test_the_json_form_has_plain_values_only(app: TestApp, worker: Worker) -> None:
    token = uuid.uuid4()
    moment = datetime(2030, 1, 2, 3, 4, tzinfo=UTC)

    @task
    def work() -> dict[str, Any]:
        return {"id": token, "at": moment, "set": {1}, "__cifra__": "mine"}

    handle = work.delay()
    assert handle.result(5) == {"id": token, "at": moment, "set": {1}, "__cifra__": "mine"}
    shown = json.loads(json.dumps(handle.status_sync().as_dict()))
    assert shown["result"] == {
        "id": str(token),
        "at": moment.isoformat(),
        "set": [1],
        "__cifra__": "mine",
    }
    assert shown["status"] == "success"
    assert shown["is_terminal"] is True
    assert {"created_at", "started_at", "finished_at"} <= shown.keys()
    assert datetime.fromisoformat(shown["finished_at"]).tzinfo is not None


# -- progress --------------------------------------------------------------------------------------


async def test_progress_and_stage_are_seen_while_the_task_runs(
    app: TestApp, worker: Worker, gate: Gate
) -> None:
    @task
    def work() -> str:
        current_task.update_progress(40, "counting", rows=7)
        current_task.update_state("VALIDATING")
        gate.wait()
        return "done"

    handle = await work.delay()
    status = None
    async for status in handle.follow():
        if status.stage == "VALIDATING":
            break
    assert status is not None
    assert (status.status, status.state) == ("running", "running")
    assert (status.progress, status.message, status.meta) == (40, "counting", {"rows": 7})
    gate.open()
    assert await handle.get(5) == "done"
    assert (await TaskStatus.get(handle)).progress == 100


def test_progress_is_written_ten_times_a_second_at_most_and_the_last_is_kept(
    make_app: Callable[..., TestApp], new_workers: Callable[[TestApp], Workers]
) -> None:
    app = make_app(is_faulty=True)

    @task
    async def work() -> None:
        import asyncio

        for number in range(500):
            await current_task.update_progress(number / 5, f"row {number}")
            await asyncio.sleep(0.001)

    new_workers(app)()
    handle = work.delay()
    handle.wait_sync(10)
    status = handle.status_sync()
    assert status.message == "row 499"
    # What has succeeded is done, whatever it said last.
    assert status.progress == 100
    assert status.execution_time is not None
    writes = sum(1 for name, _ in app.faulty_store.trace if name == "Progress")
    assert writes <= 10 * status.execution_time + 2


def test_the_last_progress_of_a_failure_is_kept(app: TestApp, worker: Worker) -> None:
    @task(retry=0)
    def work() -> None:
        for number in range(20):
            current_task.update_progress(number, f"row {number}")
        raise ValueError

    handle = work.delay()
    handle.wait_sync(5)
    assert handle.status_sync().message == "row 19"


def test_progress_outside_of_its_range_is_clamped(app: TestApp, worker: Worker) -> None:
    @task(retry=0)
    def work(percent: float) -> None:
        current_task.update_progress(percent)
        raise ValueError("so that it stays where it is")

    for percent, shown in ((-5, 0), (250, 100), (33.3, 33.3)):
        handle = work.delay(percent)
        handle.wait_sync(5)
        assert handle.status_sync().progress == pytest.approx(shown)
