"""Tasks that wait for tasks: an async one lends its place, a thread is told when it cannot end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from cifra_jobs import TaskHandle, WaitTimeout, WouldDeadlock, task
from cifra_jobs.testing.assertions import eventually

if TYPE_CHECKING:
    from tests.contract.kit import Gate, Ledger, TestApp, Workers


async def test_a_task_awaits_another_with_one_slot_and_one_delivery(
    app: TestApp, workers: Workers
) -> None:
    @task
    async def child(x: int) -> int:
        return x + 1

    @task
    async def parent(x: int) -> int:
        return await child.apply(x) + 10

    workers(concurrency=1)
    assert await (await parent.delay(1)).get(5) == 12
    # The slot came back: more of them, one after the other.
    assert await asyncio.gather(*(parent.apply(number) for number in range(5))) == [
        11,
        12,
        13,
        14,
        15,
    ]


async def test_tasks_await_tasks_three_deep_with_one_slot(app: TestApp, workers: Workers) -> None:
    @task
    async def third() -> str:
        return "3"

    @task
    async def second() -> str:
        return "2" + await third.apply()

    @task
    async def first() -> str:
        handle = await second.delay()
        return "1" + await handle.get()

    @task
    async def root() -> str:
        return "0" + await first.apply()

    workers(concurrency=1)
    assert await (await root.delay()).get(5) == "0123"


async def test_fifty_parents_await_their_children_with_four_slots(
    app: TestApp, workers: Workers
) -> None:
    @task
    async def child(x: int) -> int:
        return x

    @task
    async def parent(x: int) -> int:
        first, second = await child.delay(x), await child.delay(x)
        return await first.get() + await second.get()

    workers(concurrency=4)
    handles = [await parent.delay(number) for number in range(50)]
    results = await asyncio.gather(*(handle.get(10) for handle in handles))
    assert results == [2 * number for number in range(50)]


async def test_a_task_that_awaits_many_at_once_lends_one_slot(
    app: TestApp, workers: Workers, ledger: Ledger
) -> None:
    running: list[int] = []

    @task
    async def child(x: int) -> int:
        running.append(x)
        ledger(len(running))
        await asyncio.sleep(0.002)
        running.remove(x)
        return x

    @task
    async def parent() -> int:
        return sum(await asyncio.gather(*(child.apply(number) for number in range(20))))

    workers(concurrency=2)
    assert await (await parent.delay()).get(10) == 190
    assert max(ledger.entries) <= 2


async def test_an_async_task_awaits_a_plain_one_with_one_slot(
    app: TestApp, workers: Workers
) -> None:
    @task
    def child() -> str:
        return "from a thread"

    @task
    async def parent() -> str:
        return await child.apply()

    workers(concurrency=1)
    assert await (await parent.delay()).get(5) == "from a thread"


async def test_a_wait_that_times_out_gives_the_place_back(
    app: TestApp, workers: Workers, ledger: Ledger, gate: Gate
) -> None:
    @task
    async def never() -> None:
        await asyncio.to_thread(gate.wait)

    @task
    async def parent() -> str:
        handle = await never.delay()
        try:
            await handle.get(0.05)
        except WaitTimeout:
            return "gave up"
        return "?"

    @task
    async def other() -> str:
        ledger("other")
        return "ran"

    workers(concurrency=1)
    assert await (await parent.delay()).get(5) == "gave up"
    handle = await other.delay()
    await asyncio.sleep(0)
    assert ledger.entries == []
    gate.open()
    assert await handle.get(5) == "ran"


def test_a_thread_that_waits_is_told_when_no_slot_could_free(
    app: TestApp, workers: Workers
) -> None:
    @task
    def child() -> int:
        return 1

    @task(retry=0)
    def parent() -> int:
        return child.apply_sync()

    workers(concurrency=1)
    with pytest.raises(WouldDeadlock, match="parent"):
        parent.delay().result(5)


def test_a_thread_may_wait_while_another_slot_is_there(app: TestApp, workers: Workers) -> None:
    @task
    def child() -> int:
        return 1

    @task
    def parent() -> int:
        return child.apply_sync() + 1

    workers(concurrency=2)
    assert parent.delay().result(5) == 2


def test_threads_that_would_all_wait_are_told(app: TestApp, workers: Workers) -> None:
    @task
    def child() -> int:
        return 1

    @task(retry=0)
    def parent() -> int:
        return child.apply_sync() + 1

    workers(concurrency=2)
    handles = [parent.delay() for _ in range(6)]
    outcomes = [handle.result(10, propagate=False) for handle in handles]
    assert all(outcome == 2 or isinstance(outcome, WouldDeadlock) for outcome in outcomes)
    assert 2 in outcomes


def test_an_async_task_that_blocks_its_loop_is_told(app: TestApp, workers: Workers) -> None:
    @task
    async def child() -> int:
        return 1

    @task(retry=0)
    async def parent() -> int:
        handle = await child.delay()
        return handle.result(5)

    workers(concurrency=4)
    with pytest.raises(WouldDeadlock, match="await"):
        parent.delay().result(8)


def test_a_thread_that_runs_a_loop_of_its_own_waits_as_a_thread(
    app: TestApp, workers: Workers
) -> None:
    @task
    def child() -> int:
        return 1

    @task(retry=0)
    def parent() -> int:
        return asyncio.run(child.apply())

    crew = workers(concurrency=1)
    with pytest.raises(WouldDeadlock):
        parent.delay().result(5)
    crew.stop(1)
    workers(concurrency=2)
    assert parent.delay().result(5) == 1


async def test_an_async_task_may_wait_in_a_thread_of_its_own(
    app: TestApp, workers: Workers
) -> None:
    @task
    async def child() -> int:
        return 1

    @task
    async def parent() -> int:
        handle = await child.delay()
        return await asyncio.to_thread(handle.result)

    workers(concurrency=1)
    assert await (await parent.delay()).get(5) == 1


def test_a_task_that_has_ended_is_no_wait(app: TestApp, workers: Workers, ledger: Ledger) -> None:
    @task
    def child() -> int:
        return 1

    @task
    def parent(task_id: str) -> int:
        handle: TaskHandle[int] = TaskHandle(task_id)
        return handle.status_sync().result or 0

    workers(concurrency=1)
    done = child.delay()
    assert done.result(5) == 1
    assert parent.delay(done).result(5) == 1


async def test_waiting_too_long_is_a_timeout_and_the_task_goes_on(
    app: TestApp, workers: Workers, gate: Gate
) -> None:
    @task
    def work() -> str:
        gate.wait()
        return "done"

    workers()
    handle = await work.delay()
    with pytest.raises(WaitTimeout):
        await handle.get(0.02)
    with pytest.raises(TimeoutError):
        await asyncio.to_thread(handle.result, 0.02)
    gate.open()
    assert await handle.get(5) == "done"


async def test_a_cancelled_wait_leaves_the_task_alone(
    app: TestApp, workers: Workers, gate: Gate
) -> None:
    @task
    def work() -> str:
        gate.wait()
        return "done"

    workers()
    handle = await work.delay()
    waiting = asyncio.create_task(handle.get())
    await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    gate.open()
    assert await handle.get(5) == "done"
    eventually(lambda: app.state(handle) == "success")
