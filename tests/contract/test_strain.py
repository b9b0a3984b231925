"""The delivery core under strain: full queues, late interrupts, hooks that send, waits given up."""

from __future__ import annotations

import asyncio
import gc
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import dramatiq
import pytest

from cifra_jobs import (
    BrokerUnavailable,
    ParentFailed,
    TaskHandle,
    TaskTimeout,
    current_task,
    task,
)
from cifra_jobs.testing.assertions import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.contract.kit import Gate, Ledger, Make, TestApp, Workers


def test_early_acked_tasks_wait_in_the_queue_until_a_slot_is_free(
    app: TestApp, workers: Workers, ledger: Ledger, gate: Gate
) -> None:
    @task(acks="early")
    def slow(number: int) -> None:
        ledger(number)
        gate.wait()

    handles = [slow.delay(number) for number in range(6)]
    workers(concurrency=1)
    ledger.wait(1)
    # One runs, and one was asked for when its ack made room; then the worker takes no more.
    eventually(lambda: app.ready() == 4)
    for handle in handles * 5:
        assert app.state(handle) in {"queued", "running"}
    assert app.ready() == 4
    gate.open()
    assert ledger.wait(6) == list(range(6))


def test_an_interrupt_that_hits_after_the_run_costs_no_thread(
    app: TestApp, workers: Workers, ledger: Ledger
) -> None:
    class Late(dramatiq.Middleware):
        def after_process_message(self, broker: Any, message: Any, **_: Any) -> None:
            if message.actor_name == "hit":
                raise dramatiq.middleware.TimeLimitExceeded

    @dramatiq.actor(queue_name=app.queue, max_retries=0)
    def hit() -> None:
        ledger("hit")

    @task
    def other() -> int:
        return 1

    app.broker.add_middleware(Late())
    worker = workers(concurrency=1)
    hit.send()
    ledger.wait(1)
    assert other.delay().result(5) == 1
    (letter,) = app.dead()
    assert letter.failure is not None
    assert "TimeLimitExceeded" in letter.failure.exception_type
    # Nothing of it is left hanging: the worker ends without having to give anything up.
    worker.stop()


def test_a_callback_for_a_queue_that_nobody_declares_is_parked_and_holds_nobody_up(
    app: TestApp, workers: Workers
) -> None:
    @task
    def after(number: int) -> None: ...

    @task
    def first() -> int:
        return 1

    workers(concurrency=1)
    handle = first.apply_async(link=after.s().set(queue="nowhere"))
    assert handle.result(10) == 1
    assert first.delay().result(5) == 1
    (letter,) = app.dead()
    assert letter.failure is not None
    assert (letter.failure.task, letter.failure.reason) == ("after", "undeliverable")
    assert letter.failure.queue == "nowhere"


def test_a_queue_named_while_the_broker_is_away_is_consumed_when_it_is_back(
    make: Make, make_app: Callable[..., TestApp], new_workers: Callable[[TestApp], Workers]
) -> None:
    app = make_app()
    new_workers(app)(queues=None)
    late = make.new_queue()
    transport: Any = app.transport
    break_broker = getattr(transport, "break_connection", None)
    if break_broker is not None:
        break_broker()
    else:
        transport.check()
        # As a network does it.
        connection = transport._publisher.connection  # noqa: SLF001
        connection.call(lambda: connection.drop("by the test"))

    @task(queue=late)
    def work() -> int:
        return 7

    if break_broker is not None:
        transport.mend_connection()
    assert work.delay().result(10) == 7


def test_sends_of_a_process_that_never_reached_the_broker_fail_within_the_publish_timeout(
    make: Make, make_app: Callable[..., TestApp]
) -> None:
    away = {} if make.is_memory else {"url": "amqp://guest:guest@127.0.0.1:1/%2F"}
    app = make_app(broker=away, publish_timeout=0.4)
    if make.is_memory:
        app.transport.break_connection()  # type: ignore[attr-defined]

    @task
    def work() -> None: ...

    begun = time.monotonic()
    with ThreadPoolExecutor(4) as senders:
        sends = [senders.submit(work.delay) for _ in range(4)]
    for send in sends:
        assert isinstance(send.exception(), BrokerUnavailable)
    assert time.monotonic() - begun < 1.5


async def test_a_send_whose_waiter_gave_up_can_be_awaited_by_others(
    app: TestApp, workers: Workers
) -> None:
    @task
    async def work() -> int:
        return 7

    handle = work.delay()

    async def wait() -> Any:
        return await handle

    first, second = asyncio.ensure_future(wait()), asyncio.ensure_future(wait())
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert await second == handle
    workers()
    assert await (await handle).get(5) == 7


def hook_of(name: str, owner: str, send: Callable[[], Any]) -> dramatiq.Middleware:
    """A middleware that sends in one of its hooks, for messages of one task."""

    def call(_self: Any, _broker: Any, message: Any, *_: Any) -> None:
        if message.actor_name == owner:
            send()

    made: dramatiq.Middleware = type("Sends", (dramatiq.Middleware,), {name: call})()
    return made


@pytest.mark.parametrize("way", ["delay", "send"])
@pytest.mark.parametrize(
    ("hook", "is_strange"),
    [
        ("before_ack", False),
        ("after_ack", False),
        ("before_nack", True),
        ("after_nack", True),
        ("after_enqueue", False),
    ],
)
def test_a_hook_may_send_on_whatever_thread_it_is_called(
    app: TestApp, workers: Workers, ledger: Ledger, hook: str, is_strange: bool, way: str
) -> None:
    @task
    def follow() -> None:
        ledger("follow")

    @task
    def first() -> int:
        return 1

    app.broker.add_middleware(hook_of(hook, "first", getattr(follow, way)))
    workers()
    if is_strange:
        app.put(first.message().copy(queue_name="elsewhere").encode())
    else:
        assert first.delay().result(5) == 1
    ledger.wait(1, timeout=5)
    assert first.delay().result(5) == 1


def test_a_plain_task_on_a_worker_without_threads_waits_for_one_that_has(
    app: TestApp, workers: Workers
) -> None:
    @task
    def plain() -> str:
        return current_task.request.worker

    @task
    async def native() -> str:
        return current_task.request.worker

    workers(concurrency=1, mode="async", name="threadless")
    handle = plain.delay()
    assert native.delay().result(5) == "threadless"
    eventually(lambda: app.ready() == 0)
    workers(concurrency=1, name="both")
    # It may meet the first one again: each time it waits for a little longer.
    assert handle.result(20) == "both"


def test_event_loops_that_have_sent_and_waited_are_forgotten(
    app: TestApp, workers: Workers
) -> None:
    @task
    def work() -> int:
        return 7

    loops: list[weakref.ref[Any]] = []

    async def send() -> int:
        loops.append(weakref.ref(asyncio.get_running_loop()))
        return await (await work.delay()).get(5)

    workers()
    for _ in range(3):
        assert asyncio.run(send()) == 7
    app.commit.flush(5)

    def forgotten() -> bool:
        gc.collect()
        return not any(loop() for loop in loops)

    eventually(forgotten)


def test_a_timeout_reaches_a_thread_that_waits_for_another_task(
    app: TestApp, workers: Workers, gate: Gate
) -> None:
    @task
    def child() -> None:
        gate.wait()

    @task(timeout=0.3, retry=0)
    def parent() -> None:
        child.delay().result()

    workers(concurrency=3)
    handle = parent.delay()
    with pytest.raises(TaskTimeout):
        handle.result(5)
    gate.open()


def test_a_callback_whose_stored_argument_is_gone_is_told_so(
    app: TestApp, workers: Workers
) -> None:
    @task
    def callback(task_id: str, result: str = "") -> str:
        return task_id + result

    message: dramatiq.Message[Any] = dramatiq.Message(
        app.queue, callback.actor_name, ("parent",), {}, {"result_of": "nobody"}
    )
    app.broker.enqueue(message)
    workers()
    with pytest.raises(ParentFailed, match="gone"):
        TaskHandle(message.message_id).result(5)


def test_a_dead_letter_that_is_put_back_runs_again(
    app: TestApp, workers: Workers, ledger: Ledger
) -> None:
    @task(retry=1, retry_delay=0, expires=60)
    def mended() -> str:
        ledger("run")
        if ledger.entries.count("run") <= 3:
            raise ValueError("still broken")
        return "fine"

    workers()
    handle = mended.delay()
    with pytest.raises(ValueError, match="still broken"):
        handle.result(5)
    eventually(app.dead)
    assert app.transport.dead_letters(app.queue).requeue(str(handle))
    # It has its whole budget again: the third run fails, the fourth does not.
    eventually(lambda: app.state(handle) == "success")
    assert handle.result(5) == "fine"
    assert ledger.entries == ["run"] * 4
    assert app.dead() == []
