"""Delayed, expired and revoked tasks."""

from __future__ import annotations

import os
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from cifra_jobs import OptionError, TaskExpired, TaskHandle, TaskRevoked, current_task, task
from cifra_jobs.brokers.rabbitmq.delays import MAX_DELAY_MS
from cifra_jobs.clock import now_ms
from cifra_jobs.testing.assertions import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from cifra_jobs.runtime.worker import Worker
    from tests.contract.kit import Gate, Ledger, TestApp, Workers

WAYS: dict[str, Callable[[Any, float], TaskHandle[Any]]] = {
    "countdown": lambda task, s: task.apply_async(countdown=s),
    "a countdown as timedelta": lambda task, s: task.apply_async(countdown=timedelta(seconds=s)),
    "eta": lambda task, s: task.apply_async(eta=datetime.now(UTC) + timedelta(seconds=s)),
    "apply_at": lambda task, s: task.apply_at(datetime.now(UTC) + timedelta(seconds=s)),
    "apply_at, naive": lambda task, s: task.apply_at(
        datetime.now() + timedelta(seconds=s)  # noqa: DTZ005 - what a user writes
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_delayed_task_is_scheduled_and_never_early(
    app: TestApp, worker: Worker, way: str
) -> None:
    @task
    def work() -> int:
        return now_ms()

    begun = now_ms()
    handle = WAYS[way](work, 0.2)
    status = handle.status_sync()
    assert (status.status, status.state) == ("pending", "scheduled")
    assert status.eta is not None
    ran = handle.result(5)
    assert ran >= begun + 200
    assert ran - begun < 1500


def test_a_naive_datetime_is_in_the_zone_of_the_process(
    app: TestApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    @task
    def work() -> None: ...

    monkeypatch.setitem(os.environ, "TZ", "Asia/Tokyo")
    time.tzset()
    try:
        handle = work.apply_at(datetime(2037, 1, 1, 9, 0))  # noqa: DTZ001 - the point of the test
    finally:
        monkeypatch.delitem(os.environ, "TZ")
        time.tzset()
    assert handle.status_sync().eta == datetime(2037, 1, 1, 0, 0, tzinfo=UTC)


def test_naive_datetimes_can_be_forbidden(make_app: Callable[..., TestApp]) -> None:
    make_app(naive_datetimes="error")

    @task
    def work() -> None: ...

    with pytest.raises(OptionError, match="time zone"):
        work.apply_at(datetime(2037, 1, 1))  # noqa: DTZ001 - the point of the test


def test_a_moment_in_the_past_is_now(app: TestApp, worker: Worker) -> None:
    @task
    def work() -> str:
        return "now"

    assert work.apply_at(datetime.now(UTC) - timedelta(days=1)).result(5) == "now"


def test_a_delay_longer_than_the_ladder_is_sent_on_without_using_an_attempt(
    make_app: Callable[..., TestApp], new_workers: Callable[[TestApp], Workers]
) -> None:
    app = make_app(is_faulty=True)
    sent: list[int] = []

    @task(retry=0)
    def work() -> int:
        return current_task.request.retries

    # As it comes out of the ladder after 74 hours, with a week to go.
    message = work.message()
    due = now_ms() + 7 * 24 * 3600 * 1000
    app.put(
        app.outbox.publication(message.copy(options={"eta": due}), app.queue, 0).body,
        message_id=message.message_id,
    )
    publish = app.faulty_transport.inner.publish

    def noted(publications: Any, done: Any, *, timeout_s: float) -> None:
        sent.extend(each.delay_ms for each in publications)
        publish(publications, done, timeout_s=timeout_s)

    app.faulty_transport.inner.publish = noted
    new_workers(app)()
    eventually(lambda: sent)
    assert abs(sent[0] - (due - now_ms())) < 2000
    assert sent[0] > MAX_DELAY_MS
    eventually(lambda: app.ready() == 0)
    record = app.get(message.message_id)
    assert record is None or record.attempts == 0


def test_a_copy_that_comes_out_early_waits_for_its_moment(app: TestApp, worker: Worker) -> None:
    @task(retry=0)
    def work() -> int:
        return now_ms()

    due = now_ms() + 300
    message = work.message()
    app.put(app.outbox.publication(message.copy(options={"eta": due}), app.queue, 0).body)
    eventually(lambda: app.state(message.message_id) == "success")
    ran: Any = TaskHandle(message.message_id).result(5)
    record = app.get(message.message_id)
    assert record is not None
    assert (ran >= due, record.attempts) == (True, 1)


@pytest.mark.parametrize("eta", ["soon", float("inf"), -1, True, [1]])
def test_a_due_time_that_makes_no_sense_is_now(app: TestApp, worker: Worker, eta: Any) -> None:
    @task
    def work() -> str:
        return "ran"

    message = work.message()
    app.put(app.outbox.publication(message.copy(options={"eta": eta}), app.queue, 0).body)
    eventually(lambda: app.state(message.message_id) in {"success", None} or app.dead())
    assert work.apply_sync() == "ran"


# -- expires ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_kept", [False, True])
def test_a_task_that_would_start_too_late_is_expired_and_kept_only_where_asked(
    make_app: Callable[..., TestApp],
    new_workers: Callable[[TestApp], Workers],
    ledger: Ledger,
    *,
    is_kept: bool,
) -> None:
    app = make_app(dead_letter_expired=is_kept)

    @task(expires=0.01)
    def work() -> None:
        ledger("ran")

    handle = work.delay()
    due = now_ms() + 20
    eventually(lambda: now_ms() > due)
    new_workers(app)()
    with pytest.raises(TaskExpired):
        handle.result(5)
    status = handle.status_sync()
    assert (status.status, status.state, status.is_terminal) == ("failed", "expired", True)
    assert len(ledger) == 0
    eventually(lambda: app.ready() == 0)
    assert len(app.dead()) == is_kept


def test_an_expiry_that_has_not_come_lets_the_task_run(app: TestApp, worker: Worker) -> None:
    @task
    def work() -> str:
        return "ran"

    moment = datetime.now(UTC) + timedelta(minutes=1)
    assert work.apply_async(expires=moment).result(5) == "ran"
    assert work.apply_async(expires=60).result(5) == "ran"


# -- revoke ----------------------------------------------------------------------------------------


async def test_a_waiting_task_is_revoked_before_any_worker_is_up(
    app: TestApp, workers: Workers, ledger: Ledger
) -> None:
    @task
    def work() -> None:
        ledger("ran")

    handle = await work.delay()
    assert await handle.revoke() is True
    assert (await handle.status()).state == "revoked"
    with pytest.raises(TaskRevoked):
        await handle.get(5)
    workers()
    eventually(lambda: app.ready() == 0)
    assert await handle.revoke() is False
    assert len(ledger) == 0
    assert app.dead() == []


def test_a_delayed_task_is_revoked(app: TestApp, worker: Worker, ledger: Ledger) -> None:
    @task
    def work(name: str) -> None:
        ledger(name)

    revoked = work.apply_async(("revoked",), countdown=0.15)
    assert revoked.revoke_sync() is True
    work.apply_async(("kept",), countdown=0.2).wait_sync(5)
    assert ledger.entries == ["kept"]
    assert revoked.status_sync().state == "revoked"


def test_a_task_that_waits_for_its_retry_is_revoked(
    app: TestApp, worker: Worker, ledger: Ledger
) -> None:
    @task(retry=3, retry_delay=0.2)
    def work() -> None:
        ledger("ran")
        raise ValueError

    handle = work.delay()
    eventually(lambda: app.state(handle) == "retrying")
    assert handle.revoke_sync() is True
    with pytest.raises(TaskRevoked):
        handle.result(5)
    assert len(ledger) == 1


def test_a_prefetched_task_is_revoked_before_it_starts(
    app: TestApp, workers: Workers, ledger: Ledger, gate: Gate
) -> None:
    @task
    def work(name: str) -> None:
        ledger(name)
        gate.wait()

    worker = workers(concurrency=1, prefetch_multiplier=2)
    work.delay("first")
    ledger.wait(1)
    second = work.delay("second")
    eventually(lambda: app.ready() == 0)
    app.commit.flush(5)
    assert second.revoke_sync() is True
    # Said, not yet heard: a signal takes a moment.
    eventually(lambda: second in worker._revocations._ids or app.state(second) == "revoked")  # noqa: SLF001
    gate.open()
    with pytest.raises(TaskRevoked):
        second.result(5)
    assert ledger.entries == ["first"]


def test_a_revoke_whose_signal_was_missed_is_found_when_the_connection_is_back(
    make_app: Callable[..., TestApp],
    new_workers: Callable[[TestApp], Workers],
    ledger: Ledger,
    gate: Gate,
) -> None:
    app = make_app(is_faulty=True)

    @task
    def work(name: str) -> bool:
        ledger(name)
        gate.wait()
        return current_task.is_cancelled()

    new_workers(app)(concurrency=1, prefetch_multiplier=2)
    first = work.delay("first")
    ledger.wait(1)
    second = work.delay("second")
    eventually(lambda: app.ready() == 0)
    app.commit.flush(5)
    eventually(lambda: app.state(first) == "running")
    app.faulty_store.is_deaf = True
    first.revoke_sync()
    second.revoke_sync()
    app.faulty_store.come_back()
    app.commit.flush(5)
    gate.open()
    with pytest.raises(TaskRevoked):
        second.result(5)
    assert first.result(5) is True
    assert ledger.entries == ["first"]


def test_a_running_task_is_asked_to_stop(app: TestApp, worker: Worker, ledger: Ledger) -> None:
    stopped = threading.Event()

    @task
    def work() -> str:
        ledger("began")
        while not current_task.is_cancelled():
            stopped.wait(0.005)
        return "tidied up"

    handle = work.delay()
    ledger.wait(1)
    eventually(lambda: app.state(handle) == "running")
    assert handle.revoke_sync() is True
    assert handle.result(5) == "tidied up"


@pytest.mark.parametrize("is_async", [False, True])
def test_a_running_task_is_terminated_where_that_is_asked(
    app: TestApp, worker: Worker, ledger: Ledger, *, is_async: bool
) -> None:
    pause = threading.Event()

    @task(name="plainly", retry=3)
    def plainly() -> None:
        ledger("began")
        for _ in range(2000):
            pause.wait(0.005)

    @task(name="natively", retry=3)
    async def natively() -> None:
        import asyncio

        ledger("began")
        await asyncio.sleep(30)

    handle: TaskHandle[None] = natively.delay() if is_async else plainly.delay()
    ledger.wait(1)
    assert handle.revoke_sync(terminate=True) is True
    with pytest.raises(TaskRevoked):
        handle.result(5)
    assert ledger.entries == ["began"]
    assert handle.status_sync().state == "revoked"
