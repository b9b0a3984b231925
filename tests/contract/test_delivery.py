"""A message that was confirmed is run, and recorded once, whatever dies on the way."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import dramatiq
import pytest

from cifra_jobs import current_task, send_many, task
from cifra_jobs.brokers.base import Publication
from cifra_jobs.store.base import Claim, Finish, Gone
from cifra_jobs.testing.assertions import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from cifra_jobs.runtime.worker import Worker
    from tests.contract.kit import Gate, Ledger, Make, TestApp, Workers


async def test_a_task_runs_and_its_result_comes_back(
    app: TestApp, worker: Worker, ledger: Ledger
) -> None:
    @task
    async def add(x: int, y: int) -> int:
        ledger("ran")
        return x + y

    handle = await add.delay(1, 2)
    assert await handle.get(5) == 3
    assert ledger.entries == ["ran"]
    assert app.state(handle) == "success"
    assert app.dead() == []


# -- order of settlement -----------------------------------------------------------------------


def test_follow_ups_are_confirmed_before_the_finish_and_the_finish_before_the_ack(
    make_app: Callable[..., TestApp], new_workers: Callable[[TestApp], Workers], ledger: Ledger
) -> None:
    app = make_app(is_faulty=True)

    @task
    def after(task_id: str, result: int) -> None:
        ledger("after", result)

    @task(on_success=after)
    def first() -> int:
        return 7

    new_workers(app)()
    handle = first.delay()
    ledger.wait(1)
    trace = app.faulty_transport.trace
    eventually(lambda: ("ack", handle) in trace)
    steps = [
        ("Stage", ""),
        ("publish", "after"),
        ("confirm", "after"),
        ("Finish", "first"),
        ("ack", str(handle)),
    ]
    order = [trace.index(step) for step in steps]
    assert order == sorted(order)


@pytest.mark.parametrize("fault", ["lost", "unconfirmed"])
def test_a_callback_that_is_not_confirmed_is_sent_again_and_runs_once(
    make_app: Callable[..., TestApp],
    new_workers: Callable[[TestApp], Workers],
    ledger: Ledger,
    fault: str,
) -> None:
    app = make_app(is_faulty=True)
    app.faulty_transport.is_hit = lambda publication: publication.type_name == "after"
    setattr(app.faulty_transport, fault, 2)

    @task
    def after(task_id: str, result: int) -> None:
        ledger("after", result)

    @task(on_success=after)
    def first() -> int:
        ledger("first")
        return 7

    @task
    def last() -> str:
        return "last"

    workers = new_workers(app)
    workers(concurrency=1)
    handle = first.delay()
    assert handle.result(10) == 7
    assert last.apply_sync() == "last"
    eventually(lambda: app.ready() == 0)
    assert ledger.wait(2) == ["first", ("after", 7)]
    assert app.faulty_transport.trace.count(("publish", "after")) == 3
    assert app.dead() == []


def test_a_finish_that_the_store_does_not_take_is_repeated_before_the_ack(
    make_app: Callable[..., TestApp], new_workers: Callable[[TestApp], Workers], ledger: Ledger
) -> None:
    app = make_app(is_faulty=True)
    store = app.faulty_store
    store.is_hit = lambda operation: isinstance(operation, Finish)
    store.failures = 2

    @task
    def work() -> int:
        ledger("ran")
        return 5

    new_workers(app)()
    handle = work.delay()
    trace = app.faulty_transport.trace
    # Before that the store is away now and then, and whoever asks it is told so.
    eventually(lambda: ("ack", handle) in trace)
    assert handle.result(10) == 5
    assert ledger.entries == ["ran"]
    assert trace.count(("Finish", "work")) >= 3
    last_finish = len(trace) - 1 - trace[::-1].index(("Finish", "work"))
    assert last_finish < trace.index(("ack", str(handle)))


CRASHES = {
    "before the result is staged": (("Stage", ""), 2),
    "before the callback is published": (("publish", "after"), 1),
    "before its confirm": (("confirm", "after"), 1),
    "before the finish": (("Finish", "first"), 1),
    "before the ack": (("ack", ""), 1),
}


@pytest.mark.parametrize("point", CRASHES)
def test_a_crash_between_two_steps_of_settlement_changes_nothing_already_done(
    make_app: Callable[..., TestApp],
    new_workers: Callable[[TestApp], Workers],
    ledger: Ledger,
    point: str,
) -> None:
    app = make_app()

    @task
    def after(task_id: str, result: int) -> None:
        ledger("after", result)

    @task(on_success=after)
    def first() -> int:
        ledger("first")
        return 7

    where, runs = CRASHES[point]
    dying = make_app(is_faulty=True, beside=app, publish_timeout=0.2)
    transport, store = dying.faulty_transport, dying.faulty_store

    def crash(what: str, name: str) -> None:
        if (what, name) == where or (where[0] == what == "ack"):
            store.is_away = True
            transport.die()

    transport.before = store.before = crash
    handle = first.delay()
    doomed = new_workers(dying)(beats=False, concurrency=1)
    eventually(lambda: transport.is_dead)
    app.commit.call([Gone(doomed.worker_id)], 5)
    new_workers(app)(concurrency=1)
    assert handle.result(10) == 7
    ledger.wait_for(lambda entries: ("after", 7) in entries)
    eventually(lambda: app.ready() == 0)
    assert ledger.entries.count("first") == runs
    assert ledger.entries.count(("after", 7)) == 1
    assert app.state(handle) == "success"


# -- duplicates ----------------------------------------------------------------------------------


def copies(app: TestApp, message: Any, count: int) -> None:
    """Publish a message so many times, as a broker or a sender in doubt does."""
    for _ in range(count):
        app.broker.enqueue(message)


def test_a_message_sent_three_times_before_the_run_runs_once(
    app: TestApp, workers: Workers, ledger: Ledger
) -> None:
    @task
    def after(task_id: str, result: int) -> None:
        ledger("after")

    @task(on_success=after)
    def work() -> int:
        ledger("ran")
        return 1

    message = work.message()
    copies(app, message, 3)
    workers(concurrency=4)
    ledger.wait_for(lambda entries: "after" in entries)
    eventually(lambda: app.ready() == 0)
    # The callback may overtake the record of its parent: it is published before.
    eventually(lambda: app.state(message.message_id) == "success")
    assert sorted(ledger.entries) == ["after", "ran"]


def test_copies_that_come_during_and_after_the_run_change_nothing(
    app: TestApp, workers: Workers, ledger: Ledger, gate: Gate
) -> None:
    @task
    def work() -> int:
        ledger("began")
        gate.wait()
        return 1

    message = work.message()
    first = workers(concurrency=1)
    copies(app, message, 1)
    ledger.wait(1)
    eventually(lambda: app.state(message.message_id) == "running")
    second = workers(concurrency=1)
    copies(app, message, 2)
    eventually(lambda: app.ready() == 0)
    assert app.state(message.message_id) == "running"
    gate.open()
    eventually(lambda: app.state(message.message_id) == "success")
    copies(app, message, 2)
    eventually(lambda: app.ready() == 0)
    record = app.get(message.message_id)
    assert record is not None
    assert (str(record.state), record.attempts) == ("success", 1)
    assert len(ledger) == 1
    assert first.counts + second.counts == {"success": 1}


def test_a_zombie_of_a_dead_worker_cannot_change_what_its_successor_recorded(
    app: TestApp, workers: Workers, ledger: Ledger, gate: Gate
) -> None:
    @task
    def work() -> str:
        ledger("began")
        if len(ledger) == 1:
            gate.wait()
            return "zombie"
        return "successor"

    zombie = workers(concurrency=1, name="zombie")
    handle = work.delay()
    ledger.wait(1)
    workers.kill(zombie)
    workers(concurrency=1, name="successor")
    assert handle.result(10) == "successor"
    gate.open()
    eventually(lambda: zombie.counts["success"] == 1)
    app.commit.flush(5)
    assert handle.result(1) == "successor"
    assert len(ledger) == 2


def test_a_copy_held_by_a_living_worker_is_left_to_it_and_run_after_its_end(
    app: TestApp, workers: Workers, ledger: Ledger, gate: Gate
) -> None:
    @task
    def work() -> str:
        ledger(current_task.request.worker)
        if len(ledger) == 1:
            gate.wait()
        return current_task.request.worker

    silent = workers(concurrency=1, name="silent")
    handle = work.delay()
    ledger.wait(1)
    app.commit.flush(5)
    # Its connection is gone, but nobody knows that it died: the claim stands.
    workers.vanish(silent)
    other = workers(concurrency=1, name="other")
    eventually(lambda: app.ready() == 0 and other.is_connected)
    assert ledger.entries == ["silent"]
    app.commit.call([Gone(silent.worker_id)], 5)
    assert handle.result(10) == "other"
    assert ledger.entries == ["silent", "other"]


def test_a_stale_copy_of_an_earlier_round_is_acked_without_a_run(
    app: TestApp, workers: Workers, ledger: Ledger, gate: Gate
) -> None:
    @task(retry=2, retry_delay=0.01)
    def work() -> str:
        ledger("ran")
        if len(ledger) == 1:
            raise ValueError("first")
        gate.wait()
        return "done"

    message = work.message()
    workers(concurrency=2)
    copies(app, message, 1)
    ledger.wait(2)
    # The first copy again: its round is over, the retry is under way.
    copies(app, message, 1)
    eventually(lambda: app.ready() == 0)
    gate.open()
    eventually(lambda: app.state(message.message_id) == "success")
    assert len(ledger) == 2


def test_a_claim_that_the_store_refuses_once_lets_the_task_run_all_the_same(
    make_app: Callable[..., TestApp], new_workers: Callable[[TestApp], Workers], ledger: Ledger
) -> None:
    app = make_app(is_faulty=True)
    app.faulty_store.is_hit = lambda operation: isinstance(operation, Claim)
    app.faulty_store.failures = 1

    @task
    def work() -> int:
        ledger("ran")
        return 3

    new_workers(app)()
    handle = work.delay()
    ledger.wait(1)
    eventually(lambda: app.faulty_store.failures == 0 and app.commit.is_available)
    eventually(lambda: app.state(handle) == "success")
    assert ledger.entries == ["ran"]


# -- acks="early" ----------------------------------------------------------------------------------


def test_an_early_ack_comes_before_the_run_and_a_crash_does_not_repeat_it(
    app: TestApp, workers: Workers, ledger: Ledger, gate: Gate
) -> None:
    @task(acks="early")
    def once() -> str:
        ledger("ran")
        gate.wait()
        return "done"

    doomed = workers(concurrency=1)
    once.delay()
    ledger.wait(1)
    # With the only delivery acked there is room for another one.
    eventually(lambda: app.ready() == 0)
    workers.kill(doomed)
    survivor = workers(concurrency=1)

    @task
    def probe() -> str:
        return "alive"

    assert probe.apply_sync() == "alive"
    assert ledger.entries == ["ran"]
    assert survivor.counts == {"success": 1}


async def test_an_early_acked_task_ends_like_any_other(
    app: TestApp, workers: Workers, ledger: Ledger
) -> None:
    @task(acks="early", retry=1, retry_delay=0.01)
    async def work() -> int:
        ledger("ran")
        if len(ledger) == 1:
            raise ValueError("again")
        return 4

    worker = workers(concurrency=1)
    handle = await work.delay()
    assert await handle.get(5) == 4
    assert ledger.entries == ["ran", "ran"]
    worker.stop(1)
    assert app.ready() == 0


# -- what the worker holds -------------------------------------------------------------------------


def test_prefetch_is_one_delivery_for_each_slot(
    app: TestApp, workers: Workers, ledger: Ledger, gate: Gate
) -> None:
    @task
    def work() -> None:
        ledger("began")
        gate.wait()

    workers(concurrency=2)
    for _ in range(5):
        work.delay()
    ledger.wait(2)
    eventually(lambda: app.ready() == 3)
    gate.open()
    ledger.wait(5)


def test_a_stopped_worker_gives_back_what_it_did_not_finish_without_using_an_attempt(
    app: TestApp, workers: Workers, ledger: Ledger, gate: Gate
) -> None:
    @task(retry=0)
    def work() -> int:
        ledger(current_task.request.retries)
        if len(ledger) == 1:
            for _ in range(1000):
                gate._event.wait(0.01)  # noqa: SLF001 - interrupted between two bytecodes
        return 1

    first = workers(concurrency=1)
    handle = work.delay()
    ledger.wait(1)
    first.stop(0.05)
    assert app.ready() == 1
    assert app.state(handle) == "queued"
    workers(concurrency=1)
    assert handle.result(5) == 1
    assert ledger.entries == [0, 0]


def test_a_publication_that_names_no_priority_is_served(
    app: TestApp, worker: Worker, ledger: Ledger
) -> None:
    @task
    def work() -> None:
        ledger("ran")

    message = work.message()
    assert isinstance(app.outbox.publication(message, app.queue, 0), Publication)
    app.broker.enqueue(message)
    ledger.wait(1)


def test_an_early_acked_task_that_had_not_begun_survives_the_stop_of_its_worker(
    app: TestApp, workers: Workers, ledger: Ledger, gate: Gate
) -> None:
    @task
    def blocking() -> None:
        ledger("blocking")
        gate.wait()

    @task(acks="early")
    def once() -> str:
        ledger("ran")
        return "done"

    first = workers(concurrency=1, prefetch_multiplier=2)
    blocking.delay()
    ledger.wait(1)
    handle = once.delay()
    eventually(lambda: app.ready() == 0)
    app.commit.flush(5)
    stopper = threading.Thread(target=first.stop)
    stopper.start()
    eventually(lambda: app.ready() == 1)
    gate.open()
    stopper.join()
    workers(concurrency=1)
    assert handle.result(5) == "done"
    assert ledger.entries == ["blocking", "ran"]


def test_copies_that_wait_for_a_worker_run_once_however_they_meet_it(
    app: TestApp, workers: Workers, ledger: Ledger
) -> None:
    @task
    def work() -> None:
        ledger("ran")

    message = work.message()
    copies(app, message, 6)
    # Its very first claims, before its first sign of life on the timer.
    workers(concurrency=8, beats=False)
    eventually(lambda: app.state(message.message_id) == "success")
    eventually(lambda: app.ready() == 0)
    assert ledger.entries == ["ran"]


def test_a_worker_of_no_queue_in_particular_serves_those_that_tasks_are_routed_to(
    app: TestApp, workers: Workers
) -> None:
    @task
    def work() -> str:
        return "done"

    workers(queues=None)
    assert work.delay().result(5) == "done"


def test_a_worker_of_no_queue_in_particular_serves_tasks_declared_after_its_start(
    app: TestApp, workers: Workers, make: Make
) -> None:
    worker = workers(queues=None)
    named = make.new_queue()

    @task
    def routed() -> str:
        return "routed"

    @task(queue=named)
    def placed() -> str:
        return "placed"

    assert routed.delay().result(5) == "routed"
    assert placed.delay().result(5) == "placed"
    eventually(lambda: worker.is_connected)


def test_hooks_of_dramatiq_s_middleware_around_the_ack_do_not_confuse_the_drain(
    app: TestApp, workers: Workers, ledger: Ledger
) -> None:
    class Watching(dramatiq.Middleware):
        def before_ack(self, broker: dramatiq.Broker, message: Any) -> None:
            ledger("before", message.message_id)

        def after_ack(self, broker: dramatiq.Broker, message: Any) -> None:
            ledger("after", message.message_id)

    app.broker.add_middleware(Watching())

    @task
    async def work(number: int) -> int:
        return number

    @task
    async def slow() -> str:
        ledger("slow")
        await asyncio.sleep(0.2)
        return "whole"

    worker = workers(concurrency=20)
    handle = slow.delay()
    ledger.wait(1)
    results = [each.result(5) for each in send_many([work.s(number) for number in range(15)])]
    assert results == list(range(15))
    # A drain that miscounts would not wait for the one that still runs.
    worker.stop(5)
    assert app.state(handle) == "success"
    acked = [entry[1] for entry in ledger.entries if entry[0] == "after"]
    assert len(acked) == len(set(acked)) == 16
