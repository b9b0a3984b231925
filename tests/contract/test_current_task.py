"""Inside a task: `current_task`, progress, stages, context and lifespans."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

import cifra_jobs.jobs.lifespan as lifespan_module
from cifra_jobs import ConfigError, OptionError, current_task, task, worker_lifespan
from cifra_jobs.errors import EncodeError
from cifra_jobs.testing.assertions import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from cifra_jobs.runtime.worker import Worker
    from tests.contract.kit import Gate, Ledger, TestApp, Workers

IN_BOTH = pytest.mark.parametrize("is_async", [True, False], ids=["async", "thread"])


def in_kind(is_async: bool, body: Any) -> Any:
    """The body as an async or as a plain function."""

    async def coroutine(*args: Any, **kwargs: Any) -> Any:
        return body(*args, **kwargs)

    def plain(*args: Any, **kwargs: Any) -> Any:
        return body(*args, **kwargs)

    return coroutine if is_async else plain


@IN_BOTH
def test_the_request_tells_the_facts_of_the_run(
    app: TestApp, worker: Worker, is_async: bool
) -> None:
    def body(*args: Any, **kwargs: Any) -> dict[str, Any]:
        request = current_task.request
        return {name: getattr(request, name) for name in request.__slots__}

    before = datetime.now(UTC) - timedelta(milliseconds=2)
    work = task(name="work", priority=7)(in_kind(is_async, body))
    handle = work.apply_async((1, {2}), {"k": (3,)}, headers={"trace": "t-1", "n": {1}})
    facts = handle.result(10)
    assert before <= facts.pop("enqueued_at") <= datetime.now(UTC)
    assert facts == {
        "id": handle,
        "task": "work",
        "retries": 0,
        "queue": app.queue,
        "priority": 7,
        "args": (1, {2}),
        "kwargs": {"k": (3,)},
        "headers": {"trace": "t-1", "n": {1}},
        "root_id": handle,
        "parent_id": None,
        "worker": worker.name,
        "is_redelivered": False,
    }


@IN_BOTH
def test_a_task_knows_its_parent_and_its_root(app: TestApp, worker: Worker, is_async: bool) -> None:
    @task
    def leaf() -> tuple[Any, ...]:
        request = current_task.request
        return request.id, request.parent_id, request.root_id

    middle = task(name="middle")(in_kind(is_async, lambda: (current_task.request.id, leaf.delay())))
    root = task(name="root")(in_kind(is_async, middle.delay))
    root_handle = root.delay()
    from cifra_jobs import TaskHandle

    middle_id, leaf_id = TaskHandle[Any](root_handle.result(10)).result(10)
    leaf_handle: TaskHandle[Any] = TaskHandle(leaf_id)
    assert leaf_handle.result(10) == (leaf_id, middle_id, root_handle)
    status = leaf_handle.status_sync()
    assert (status.parent_id, status.root_id) == (middle_id, root_handle)


async def test_every_task_sees_itself(app: TestApp, workers: Workers) -> None:
    @task
    async def work(n: int) -> list[str]:
        seen = [current_task.request.id]
        for _ in range(5):
            await asyncio.sleep(0.001)
            seen.append(current_task.request.id)
        seen.append(await asyncio.to_thread(lambda: current_task.request.id))
        return seen

    workers(concurrency=8)
    handles = [await work.delay(n) for n in range(20)]
    for handle in handles:
        assert await handle.get(10) == [handle] * 7


@IN_BOTH
def test_what_a_task_sets_in_its_context_is_not_seen_by_the_next(
    app: TestApp, workers: Workers, is_async: bool
) -> None:
    tenant: ContextVar[str] = ContextVar("tenant", default="nobody")

    def body(name: str) -> str:
        before = tenant.get()
        tenant.set(name)
        return before

    work = task(name="work")(in_kind(is_async, body))

    @task
    async def parent() -> str:
        tenant.set("the parent")
        return str(await work.apply("from the parent"))

    workers(concurrency=1)
    assert [work.apply_sync(name) for name in "abc"] == ["nobody"] * 3
    assert parent.apply_sync() == "nobody"
    assert work.apply_sync("d") == "nobody"


# -- progress ----------------------------------------------------------------------------------


@IN_BOTH
def test_progress_is_seen_while_the_task_runs(
    app: TestApp, worker: Worker, gate: Gate, is_async: bool
) -> None:
    def body() -> None:
        current_task.update_progress(12.5, "half of a quarter", rows=3)

    async def coroutine() -> None:
        await current_task.update_progress(12.5, "half of a quarter", rows=3)
        await asyncio.to_thread(gate.wait)

    def plain() -> None:
        body()
        gate.wait()

    handle = task(name="work")(coroutine if is_async else plain).delay()
    eventually(lambda: handle.status_sync().progress == 12.5)
    status = handle.status_sync()
    assert (status.status, status.message, status.meta) == (
        "running",
        "half of a quarter",
        {"rows": 3},
    )
    gate.open()
    handle.wait_sync(10)
    assert handle.status_sync().message == "half of a quarter"


@IN_BOTH
def test_the_last_progress_is_never_dropped(app: TestApp, worker: Worker, is_async: bool) -> None:
    def body() -> None:
        for percent in range(101):
            current_task.update_progress(percent, f"at {percent}")

    work = task(name="work")(in_kind(is_async, body))
    for _ in range(5):
        handle = work.delay()
        handle.wait_sync(10)
        status = handle.status_sync()
        assert (status.progress, status.message) == (100, "at 100")


def test_the_last_progress_of_a_failure_is_kept(app: TestApp, worker: Worker) -> None:
    @task(retry=0)
    def work() -> None:
        for percent in range(60):
            current_task.update_progress(percent)
        raise ValueError

    handle = work.delay()
    handle.wait_sync(10)
    assert handle.status_sync().progress == 59


@pytest.mark.parametrize(
    ("percent", "kept"), [(-5, 0), (150, 100), (33, 33), (0.5, 0.5), (None, 0)]
)
def test_progress_is_between_0_and_100(
    app: TestApp, worker: Worker, percent: float | None, kept: float
) -> None:
    @task(retry=0)
    def work() -> None:
        current_task.update_progress(percent, "told")
        raise ValueError

    handle = work.delay()
    handle.wait_sync(10)
    status = handle.status_sync()
    assert (status.progress, status.message) == (kept, "told")


def test_progress_takes_the_documented_keywords(app: TestApp, worker: Worker) -> None:
    @task(retry=0)
    async def work() -> None:
        await current_task.update_progress(percent=50, message="half")
        raise ValueError

    handle = work.delay()
    handle.wait_sync(10)
    status = handle.status_sync()
    assert (status.progress, status.message) == (50, "half")


def test_a_success_is_all_the_way(app: TestApp, worker: Worker) -> None:
    @task
    def work() -> None:
        current_task.update_progress(30)

    handle = work.delay()
    handle.wait_sync(10)
    assert handle.status_sync().progress == 100


def test_a_stage_is_shown_beside_the_status(app: TestApp, worker: Worker, gate: Gate) -> None:
    @task
    def work() -> None:
        current_task.update_progress(10)
        current_task.update_state("VALIDATING", rows=5)
        gate.wait()

    handle = work.delay()
    eventually(lambda: handle.status_sync().stage == "VALIDATING")
    status = handle.status_sync()
    assert (status.status, status.state) == ("running", "running")
    assert (status.progress, status.meta) == (10, {"rows": 5})


def test_a_stage_takes_celerys_keywords(app: TestApp, worker: Worker) -> None:
    @task
    async def work(self: Any) -> None:
        await self.update_state(state="PROGRESS", meta={"done": 5})

    handle = work.delay()  # type: ignore[call-arg]  # the worker gives self
    handle.wait_sync(10)
    status = handle.status_sync()
    assert (status.stage, status.meta, status.state) == ("PROGRESS", {"done": 5}, "success")


def test_progress_that_cannot_travel_is_the_callers_mistake(app: TestApp, worker: Worker) -> None:
    @task(retry=0)
    def work() -> None:
        current_task.update_progress(10, what=object())

    with pytest.raises(EncodeError, match="meta"):
        work.apply_sync()


def test_a_message_that_is_no_text_is_the_callers_mistake(app: TestApp, worker: Worker) -> None:
    @task(retry=0)
    def work() -> None:
        current_task.update_progress(10, 5)  # type: ignore[arg-type]

    @task(retry=0)
    def nan() -> None:
        current_task.update_progress(float("nan"))

    for bad in (work, nan):
        with pytest.raises((TypeError, ValueError)):
            bad.apply_sync()


@IN_BOTH
def test_a_heartbeat_is_shown_beside_the_running_task(
    app: TestApp, worker: Worker, gate: Gate, is_async: bool
) -> None:
    async def coroutine() -> None:
        await current_task.heartbeat()
        await asyncio.to_thread(gate.wait)

    def plain() -> None:
        current_task.heartbeat()
        gate.wait()

    handle = task(name="work")(coroutine if is_async else plain).delay()
    eventually(lambda: any(each["heartbeat"] for each in worker.running()))
    (running,) = worker.running()
    assert (running["id"], running["task"]) == (handle, "work")


# -- lifespans ---------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _no_lifespans() -> Iterator[None]:
    before = list(lifespan_module.registered)
    lifespan_module.registered.clear()
    yield
    lifespan_module.registered[:] = before


def test_lifespans_are_entered_at_the_start_and_left_after_draining(
    app: TestApp, workers: Workers, ledger: Ledger
) -> None:
    @worker_lifespan
    async def pool() -> AsyncIterator[dict[str, Any]]:
        ledger("opened")
        yield {"pool": "a pool"}
        ledger("closed")

    @worker_lifespan
    @asynccontextmanager
    async def client() -> AsyncIterator[dict[str, Any]]:
        yield {"client": "a client", "loop": asyncio.get_running_loop()}

    @worker_lifespan
    async def nothing() -> AsyncIterator[None]:
        yield None

    @task
    async def in_async() -> list[Any]:
        context = current_task.context
        return [context["pool"], context["loop"] is asyncio.get_running_loop()]

    @task
    def slow() -> str:
        ledger("slow began")
        threading.Event().wait(0.2)
        ledger("slow ended")
        return str(current_task.context["client"])

    worker = workers()
    assert ledger.entries == ["opened"]
    assert in_async.apply_sync() == ["a pool", True]
    handle = slow.delay()
    ledger.wait(2)
    worker.stop(10)
    assert ledger.entries == ["opened", "slow began", "slow ended", "closed"]
    assert handle.result(5) == "a client"


def test_a_key_of_two_lifespans_stops_the_start_and_closes_what_was_opened(
    app: TestApp, workers: Workers, ledger: Ledger
) -> None:
    @worker_lifespan
    async def first() -> AsyncIterator[dict[str, Any]]:
        try:
            yield {"pool": 1}
        finally:
            ledger("closed")

    @worker_lifespan
    async def second() -> AsyncIterator[dict[str, Any]]:
        yield {"pool": 2}

    # Workers that other tests have killed leave theirs behind.
    before = set(threading.enumerate())
    with pytest.raises(ConfigError, match=r"second.*'pool'"):
        workers()
    assert ledger.entries == ["closed"]
    assert "cifra-loop" not in {each.name for each in set(threading.enumerate()) - before}


def test_a_lifespan_that_fails_stops_the_start(app: TestApp, workers: Workers) -> None:
    @worker_lifespan
    async def broken() -> AsyncIterator[dict[str, Any]]:
        raise OSError("no database")
        yield {}

    with pytest.raises(OSError, match="no database"):
        workers()


def test_a_lifespan_yields_a_dict(app: TestApp, workers: Workers) -> None:
    @worker_lifespan
    async def odd() -> AsyncIterator[Any]:
        yield 5

    with pytest.raises(ConfigError, match=r"odd.*dict"):
        workers()


def test_a_lifespan_may_hold_a_task_group(app: TestApp, workers: Workers, ledger: Ledger) -> None:
    @worker_lifespan
    async def group() -> AsyncIterator[dict[str, Any]]:
        async with asyncio.TaskGroup() as group:
            stop = asyncio.Event()
            group.create_task(stop.wait())
            mine = asyncio.current_task()
            yield {"group": group}
            stop.set()
        ledger("left by the same" if asyncio.current_task() is mine else "left by another")

    @task
    async def work() -> bool:
        current_task.context["group"].create_task(asyncio.sleep(0))
        return True

    worker = workers()
    assert work.apply_sync()
    worker.stop(5)
    assert ledger.entries == ["left by the same"]


@pytest.mark.parametrize("wrong", [5, "x"], ids=str)
def test_only_context_managers_are_lifespans(wrong: Any) -> None:
    with pytest.raises(OptionError, match="worker_lifespan"):
        worker_lifespan(wrong)

    async def no_generator() -> dict[str, Any]:
        return {}

    with pytest.raises(OptionError, match="worker_lifespan"):
        worker_lifespan(no_generator)
