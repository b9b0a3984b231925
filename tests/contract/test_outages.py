"""Redis away, RabbitMQ away: what goes on, what waits, and that nothing is lost."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from cifra_jobs import BrokerUnavailable, StoreUnavailable, TaskStatus, task
from cifra_jobs.testing.assertions import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cifra_jobs.dev import PrivateRabbitmq, PrivateRedis
    from tests.contract.kit import Gate, Ledger, Make, TestApp, Workers


class Outage:
    """The store of an app, to be taken away and brought back."""

    def __init__(self, app: TestApp, redis: PrivateRedis | None) -> None:
        self.app = app
        self._redis = redis

    def begin(self) -> None:
        """The store is away, and the app knows: a question has failed."""
        if self._redis is not None:
            self._redis.stop()
        else:
            self.app.faulty_store.is_away = True

    def end(self) -> None:
        """The store is back, with what it held."""
        if self._redis is not None:
            self._redis.start()
        else:
            self.app.faulty_store.come_back()


@pytest.fixture(scope="module")
def own_redis() -> Iterator[PrivateRedis]:
    """A Redis that these tests may stop."""
    from cifra_jobs.dev import PrivateRedis

    with PrivateRedis() as redis:
        yield redis


@pytest.fixture
def outage(
    make: Make, make_app: Callable[..., TestApp], request: pytest.FixtureRequest
) -> Iterator[Outage]:
    """An app whose store can be taken away."""
    if make.is_memory:
        yield Outage(make_app(is_faulty=True), None)
        return
    redis: PrivateRedis = request.getfixturevalue("own_redis")
    if not redis.is_running:
        redis.start()
    yield Outage(make_app(result_backend={"url": redis.url}), redis)
    if not redis.is_running:
        redis.start()


def test_without_redis_tasks_that_store_no_result_run_and_are_acked(
    outage: Outage, new_workers: Callable[[TestApp], Workers], ledger: Ledger
) -> None:
    @task(store_result=False)
    def work(number: int) -> None:
        ledger(number)

    app = outage.app
    # One slot, one delivery at a time: an ack that waited would be the last.
    new_workers(app)(concurrency=1)
    handles = [work.delay(0)]
    ledger.wait(1)
    outage.begin()
    handles += [work.delay(number) for number in range(1, 6)]
    assert ledger.wait(6) == list(range(6))
    eventually(lambda: app.ready() == 0)
    outage.end()
    eventually(lambda: app.commit.is_available)
    for handle in handles:
        eventually(lambda handle=handle: app.state(handle) == "success")  # type: ignore[misc]
    assert len(ledger) == 6


def test_without_redis_other_tasks_run_and_their_acks_wait(
    outage: Outage, new_workers: Callable[[TestApp], Workers], ledger: Ledger
) -> None:
    @task
    def work(number: int) -> int:
        ledger(number)
        return number

    app = outage.app
    worker = new_workers(app)(concurrency=2)
    assert work.delay(0).result(5) == 0
    outage.begin()
    handles = [work.delay(number) for number in range(1, 5)]
    # Two slots, two deliveries: it stops there, with nothing lost.
    ledger.wait(3)
    eventually(lambda: app.ready() == 2)
    assert worker.is_connected
    outage.end()
    eventually(lambda: app.commit.is_available)
    assert [handle.result(10) for handle in handles] == [1, 2, 3, 4]
    assert sorted(ledger.entries) == [0, 1, 2, 3, 4]
    assert app.ready() == 0


def test_a_wait_that_began_before_an_outage_is_answered_after_it(
    outage: Outage, new_workers: Callable[[TestApp], Workers], gate: Gate, ledger: Ledger
) -> None:
    @task
    def work() -> str:
        ledger("began")
        gate.wait()
        return "done"

    app = outage.app
    new_workers(app)()
    handle = work.delay()
    ledger.wait(1)
    waiting = app.final_record(handle)
    eventually(lambda: app.state(handle) == "running")
    outage.begin()
    gate.open()
    with pytest.raises(StoreUnavailable):
        eventually(lambda: TaskStatus.get_sync(handle) is None)
    outage.end()
    assert str(waiting.result(10).state) == "success"
    eventually(lambda: app.commit.is_available)
    assert handle.result(5) == "done"


async def test_without_redis_a_send_counts_and_a_question_is_refused(
    outage: Outage, new_workers: Callable[[TestApp], Workers], ledger: Ledger
) -> None:
    @task
    async def work() -> str:
        ledger("ran")
        return "done"

    app = outage.app
    app.declare([app.queue])
    outage.begin()
    handle = await work.delay()
    with pytest.raises(StoreUnavailable):
        await handle.status()
    assert app.ready() == 1
    await asyncio.to_thread(outage.end)
    await asyncio.to_thread(eventually, lambda: app.commit.is_available)
    new_workers(app)()
    await asyncio.to_thread(ledger.wait, 1)
    assert await handle.get(10) == "done"


def test_without_redis_a_retry_is_made_and_ends_as_it_should(
    outage: Outage, new_workers: Callable[[TestApp], Workers], ledger: Ledger
) -> None:
    @task(store_result=False, retry=2, retry_delay=0.01)
    def flaky() -> None:
        ledger("ran")
        if len(ledger) < 3:
            raise ValueError("again")

    app = outage.app
    new_workers(app)(concurrency=1)
    outage.begin()
    handle = flaky.delay()
    ledger.wait(3)
    outage.end()
    eventually(lambda: app.commit.is_available)
    eventually(lambda: app.state(handle) == "success")
    assert len(ledger) == 3


def test_a_worker_starts_and_runs_tasks_while_redis_is_away(
    outage: Outage, new_workers: Callable[[TestApp], Workers], ledger: Ledger
) -> None:
    @task(store_result=False)
    def work() -> None:
        ledger("ran")

    outage.begin()
    new_workers(outage.app)()
    work.delay()
    ledger.wait(1)
    outage.end()


# -- RabbitMQ --------------------------------------------------------------------------------------


def break_and_mend(app: TestApp, between: Callable[[], None]) -> None:
    """Every connection to the broker breaks; it is reachable again after ``between``."""
    inner: Any = app.transport
    if hasattr(inner, "break_connection"):
        inner.break_connection()
        between()
        inner.mend_connection()
        return
    connections = [inner._publisher.connection]  # noqa: SLF001
    connections += [each.connection for each in inner._consumers]  # noqa: SLF001
    for connection in connections:
        connection.call(lambda connection=connection: connection.drop("cut by the test"))
    between()


def test_a_run_goes_on_when_the_broker_is_lost_and_settles_once_after_it(
    app: TestApp, workers: Workers, ledger: Ledger, gate: Gate
) -> None:
    @task
    def after(task_id: str, result: str) -> None:
        ledger("after")

    @task(on_success=after)
    def work() -> str:
        ledger("ran")
        gate.wait()
        return "done"

    worker = workers(concurrency=2)
    handle = work.delay()
    ledger.wait(1)
    break_and_mend(app, gate.open)
    assert handle.result(10) == "done"
    ledger.wait(2)
    eventually(lambda: worker.is_connected and app.ready() == 0)
    # The redelivered copy is recognised.
    assert sorted(ledger.entries) == ["after", "ran"]

    @task
    def probe() -> str:
        return "alive"

    assert probe.apply_sync() == "alive"


def test_a_send_during_a_short_break_arrives(app: TestApp, workers: Workers) -> None:
    @task
    def work() -> str:
        return "done"

    workers()
    assert work.apply_sync() == "done"
    handles: list[str] = []

    def send() -> None:
        handles.append(work.apply_sync())

    sender = threading.Thread(target=send)
    break_and_mend(app, sender.start)
    sender.join(10)
    assert handles == ["done"]


def test_a_worker_hears_again_after_many_breaks(
    app: TestApp, workers: Workers, ledger: Ledger
) -> None:
    @task
    def work(number: int) -> int:
        ledger(number)
        return number

    worker = workers(concurrency=2)
    for number in range(5):
        assert work.delay(number).result(10) == number
        break_and_mend(app, lambda: None)
        eventually(lambda: worker.is_connected)
    assert ledger.entries == list(range(5))


@pytest.fixture
def own_rabbitmq() -> Iterator[PrivateRabbitmq]:
    """A RabbitMQ that a test may stop."""
    from cifra_jobs.dev import PrivateRabbitmq

    with PrivateRabbitmq(plugins=()) as rabbitmq:
        yield rabbitmq


@pytest.mark.parametrize("make", ["rabbitmq"], indirect=True)
def test_rabbitmq_may_be_restarted_under_a_run(
    own_rabbitmq: PrivateRabbitmq,
    make: Make,
    make_app: Callable[..., TestApp],
    new_workers: Callable[[TestApp], Workers],
    ledger: Ledger,
    gate: Gate,
) -> None:
    app = make_app(broker={"url": own_rabbitmq.url}, publish_timeout=0.5)
    make.queues.clear()

    @task
    def after(task_id: str, result: str) -> None:
        ledger("after")

    @task(on_success=after)
    def work() -> str:
        ledger("ran")
        gate.wait(60)
        return "done"

    worker = new_workers(app)(concurrency=2)
    handle = work.delay()
    ledger.wait(1)
    delayed = after.apply_async(("id", "later"), countdown=0.5)
    own_rabbitmq.stop()
    begun = time.monotonic()
    with pytest.raises(BrokerUnavailable):
        after.apply_async(("id", "now"), task_id=(sent := f"sent-{app.queue}"))
    assert time.monotonic() - begun < 2
    assert app.state(sent) == "failed"
    # The run ends while the broker is away: its callback and its ack wait.
    gate.open()
    eventually(lambda: not worker.running())
    assert ledger.entries == ["ran"]
    own_rabbitmq.start()
    assert handle.result(15) == "done"
    delayed.wait_sync(10)
    again = after.apply_async(("id", "now"), task_id=sent)
    again.wait_sync(10)
    assert str(app.state(sent)) == "success"
    eventually(lambda: worker.is_connected and app.ready() == 0)
    assert sorted(ledger.entries) == ["after", "after", "after", "ran"]
