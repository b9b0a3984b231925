"""Plain ``@dramatiq.actor``s on our broker and worker, and Dramatiq's middleware, unchanged."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import dramatiq
import pytest
from dramatiq.errors import Retry as DramatiqRetry
from dramatiq.middleware import SkipMessage, TimeLimitExceeded

from cifra_jobs import TaskHandle, TaskSkipped, current_task, send_many, task
from cifra_jobs.testing.assertions import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from cifra_jobs.runtime.worker import Worker
    from tests.contract.kit import Ledger, TestApp, Workers


def actor(app: TestApp, **options: Any) -> Any:
    """``@dramatiq.actor`` on the test's queue."""
    return dramatiq.actor(queue_name=app.queue, **options)


@pytest.mark.parametrize("is_async", [True, False], ids=["async", "thread"])
def test_a_plain_actor_runs_on_our_worker(
    app: TestApp, worker: Worker, ledger: Ledger, is_async: bool
) -> None:
    async def coroutine(x: int) -> None:
        await asyncio.sleep(0)
        ledger(threading.current_thread().name)

    def plain(x: int) -> None:
        ledger(threading.current_thread().name)

    sent = actor(app, actor_name="plain")(coroutine if is_async else plain).send(1)
    (thread,) = ledger.wait(1)
    assert thread.startswith("cifra-loop" if is_async else "cifra-task")
    eventually(lambda: app.state(sent.message_id) == "success")


def test_a_plain_actor_takes_dramatiqs_options(app: TestApp) -> None:
    made = actor(app, max_retries=1, min_backoff=5, time_limit=1000, max_age=5, priority=3)(
        lambda: None
    )
    assert made.options == {"max_retries": 1, "min_backoff": 5, "time_limit": 1000, "max_age": 5}
    assert made.priority == 3


def test_a_plain_actor_retries_by_dramatiqs_rules(
    app: TestApp, worker: Worker, log_lines: Callable[[], list[dict[str, Any]]]
) -> None:
    @actor(app)
    def work() -> None:
        raise ValueError("again")

    sent = work.send()
    eventually(lambda: app.state(sent.message_id) == "retrying")
    (line,) = [line for line in log_lines() if line.get("to") == "retrying"]
    # 15 s, and as much again at most by jitter.
    assert 7.5 <= line["delay_s"] <= 30


def test_a_plain_actor_has_twenty_retries(app: TestApp, worker: Worker, ledger: Ledger) -> None:
    @actor(app, min_backoff=1, max_backoff=2)
    def work() -> None:
        ledger("ran")
        raise ValueError("again")

    sent = work.send()
    eventually(lambda: app.state(sent.message_id) == "failed", timeout=20)
    assert len(ledger) == 21
    (dead,) = app.dead()
    assert dead.failure is not None
    assert "ValueError" in dead.failure.exception_type


@pytest.mark.parametrize("is_async", [True, False], ids=["async", "thread"])
def test_a_plain_actor_keeps_its_own_time_limit(
    app: TestApp, worker: Worker, ledger: Ledger, is_async: bool
) -> None:
    async def coroutine() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ledger("tidied up")

    def plain() -> None:
        try:
            while True:
                threading.Event().wait(0.01)
        except TimeLimitExceeded:
            ledger("tidied up")
            raise

    work = actor(app, actor_name="work", max_retries=0)(coroutine if is_async else plain)
    sent = work.send_with_options(time_limit=1200)
    ledger.wait(1)
    eventually(lambda: app.state(sent.message_id) == "failed")


def test_plain_actors_run_lowest_priority_first(
    app: TestApp, workers: Workers, ledger: Ledger
) -> None:
    first = actor(app, actor_name="first", priority=0)(lambda i: ledger("first", i))
    last = actor(app, actor_name="last", priority=10)(lambda i: ledger("last", i))
    worker = workers(concurrency=1, prefetch_multiplier=20)
    worker.pause()
    for i in range(5):
        last.send(i)
        first.send(i)
    eventually(lambda: len(worker.dispatcher._heap) == 10)  # noqa: SLF001 - nobody else asks
    worker.resume()
    assert [name for name, _ in ledger.wait(10)] == ["first"] * 5 + ["last"] * 5


def test_callbacks_of_plain_actors_keep_dramatiqs_arguments(
    app: TestApp, worker: Worker, ledger: Ledger
) -> None:
    @actor(app)
    def succeeded(message_data: dict[str, Any], result: Any) -> None:
        ledger("succeeded", message_data["actor_name"], result)

    @actor(app)
    def failed(message_data: dict[str, Any], exception_data: dict[str, Any]) -> None:
        ledger("failed", message_data["actor_name"], exception_data)

    @actor(app, on_success="succeeded")
    def good() -> int:
        return 5

    @actor(app, on_failure="failed", max_retries=0)
    def bad() -> None:
        raise ValueError("why")

    good.send()
    bad.send()
    assert sorted(ledger.wait(2)) == [
        ("failed", "bad", {"type": "ValueError", "message": "why"}),
        ("succeeded", "good", 5),
    ]


def test_a_task_may_call_back_a_plain_actor_and_the_other_way_round(
    app: TestApp, worker: Worker, ledger: Ledger
) -> None:
    @actor(app)
    def plain(message_data: dict[str, Any], result: Any) -> None:
        ledger("plain", message_data["actor_name"], result)

    @task
    def ours(message_data: dict[str, Any], result: Any) -> None:
        ledger("ours", message_data["actor_name"], result)

    @task(on_success=plain)
    def good() -> int:
        return 5

    @actor(app, on_success="ours")
    def dramatiqs() -> int:
        return 6

    good.send()
    dramatiqs.send()
    assert sorted(ledger.wait(2)) == [("ours", "dramatiqs", 6), ("plain", "good", 5)]


def test_dramatiqs_retry_exception_sets_the_delay(
    app: TestApp, worker: Worker, ledger: Ledger
) -> None:
    @actor(app)
    def work() -> None:
        ledger("ran")
        if len(ledger) == 1:
            raise DramatiqRetry("later", delay=5)

    work.send()
    ledger.wait(2)


def test_on_retry_exhausted_is_sent_when_the_budget_is_used_up(
    app: TestApp, worker: Worker, ledger: Ledger
) -> None:
    @task
    def exhausted(message_data: dict[str, Any], budget: dict[str, Any]) -> None:
        ledger(message_data["actor_name"], budget)

    @task(retry=1, retry_delay=0, on_retry_exhausted=exhausted)
    def ours() -> None:
        raise ValueError("again")

    @actor(app, max_retries=1, min_backoff=1, on_retry_exhausted="exhausted")
    def plain() -> None:
        raise ValueError("again")

    budget = {"retries": 1, "max_retries": 1}
    ours.send()
    assert ledger.wait(1) == [("ours", budget)]
    plain.send()
    assert ledger.wait(2)[1] == ("plain", budget)


@pytest.mark.parametrize("is_ours", [True, False], ids=["task", "actor"])
def test_notify_shutdown_interrupts_a_thread_when_its_worker_stops(
    app: TestApp, workers: Workers, ledger: Ledger, is_ours: bool
) -> None:
    def work() -> None:
        ledger("began")
        try:
            while True:
                threading.Event().wait(0.01)
        finally:
            ledger("told")

    declare = task(notify_shutdown=True) if is_ours else actor(app, notify_shutdown=True)
    declare(work).send()
    worker = workers()
    ledger.wait(1)
    worker.stop(20)
    assert ledger.entries == ["began", "told"]


# -- pipelines ---------------------------------------------------------------------------------


def test_messages_are_piped_into_each_other(app: TestApp, worker: Worker, ledger: Ledger) -> None:
    @actor(app)
    def double(x: int) -> int:
        return x * 2

    @task
    async def increment(x: int) -> int:
        return x + 1

    @task
    def note(*args: Any) -> None:
        ledger(args)

    unfinished: Any = increment  # what comes before gives its argument
    (double.message(5) | unfinished.message() | double.message() | note.message()).run()
    assert ledger.wait(1) == [(22,)]
    (increment.message(1) | note.message_with_options(args=("no result",), pipe_ignore=True)).run()
    assert ledger.wait(2)[1] == ("no result",)


# -- middleware --------------------------------------------------------------------------------


class Recorder(dramatiq.Middleware):
    """Somebody's middleware: notes every signal about messages."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    @property
    def actor_options(self) -> set[str]:
        return {"color"}

    def before_enqueue(self, broker: Any, message: Any, delay: Any) -> None:
        self.ledger("before_enqueue", message.actor_name)

    def after_enqueue(self, broker: Any, message: Any, delay: Any) -> None:
        self.ledger("after_enqueue", message.actor_name)

    def before_process_message(self, broker: Any, message: Any) -> None:
        option = broker.get_actor(message.actor_name).options.get("color")
        self.ledger("before", message.actor_name, message.options.get("color", option))

    def after_process_message(
        self, broker: Any, message: Any, *, result: Any = None, exception: Any = None
    ) -> None:
        self.ledger("after", message.actor_name, result, repr(exception))

    def after_skip_message(self, broker: Any, message: Any) -> None:
        self.ledger("skipped", message.actor_name)

    def before_ack(self, broker: Any, message: Any) -> None:
        self.ledger("before_ack", message.actor_name)

    def after_ack(self, broker: Any, message: Any) -> None:
        self.ledger("after_ack", message.actor_name)

    def before_nack(self, broker: Any, message: Any) -> None:
        self.ledger("before_nack", message.actor_name)

    def after_nack(self, broker: Any, message: Any) -> None:
        self.ledger("after_nack", message.actor_name)


BOTH_KINDS = pytest.mark.parametrize("is_ours", [True, False], ids=["task", "actor"])


@BOTH_KINDS
def test_a_middleware_hears_of_a_message_in_dramatiqs_order(
    app: TestApp, worker: Worker, is_ours: bool, ledger: Ledger
) -> None:
    app.broker.add_middleware(Recorder(ledger))

    def good() -> str:
        return "fine"

    def bad() -> None:
        raise ValueError("why")

    def declare(fn: Any) -> Any:
        options: dict[str, Any] = {"max_retries": 0, "color": "red"}
        return (task(**options) if is_ours else actor(app, **options))(fn)

    good_one, bad_one = declare(good), declare(bad)
    good_one.send()
    assert ledger.wait(6)[0] == ("before_enqueue", "good")
    assert ("after_enqueue", "good") in ledger.entries
    assert [entry for entry in ledger.entries if "enqueue" not in entry[0]] == [
        ("before", "good", "red"),
        ("after", "good", "fine", "None"),
        ("before_ack", "good"),
        ("after_ack", "good"),
    ]
    bad_one.send_with_options(color="blue")
    told = [entry for entry in ledger.wait(12)[6:] if "enqueue" not in entry[0]]
    assert told == [
        ("before", "bad", "blue"),
        ("after", "bad", None, "ValueError('why')"),
        ("before_nack", "bad"),
        ("after_nack", "bad"),
    ]


async def test_a_middleware_hears_of_every_way_to_send(app: TestApp, ledger: Ledger) -> None:
    app.broker.add_middleware(Recorder(ledger))

    @task
    def work() -> None: ...

    for send in (
        work.send,
        work.asend,
        work.delay,
        lambda: work.apply_async(color="red"),
        work.s().delay,
        lambda: send_many([work.s()]),
    ):
        ledger.entries.clear()
        sent = send()
        if hasattr(sent, "__await__"):
            await sent
        assert ledger.wait(2) == [("before_enqueue", "work"), ("after_enqueue", "work")]


def test_an_enqueue_in_a_hook_becomes_a_follow_up(
    app: TestApp, worker: Worker, ledger: Ledger
) -> None:
    class Chatty(dramatiq.Middleware):
        def after_process_message(
            self, broker: Any, message: Any, *, result: Any = None, exception: Any = None
        ) -> None:
            if message.actor_name == "work":
                note.send(result)
                note.send_with_options(args=("later",), delay=20)

    app.broker.add_middleware(Chatty())

    @task
    def note(x: Any) -> None:
        ledger(x)

    @task
    def work() -> str:
        return "done"

    assert work.apply_sync() == "done"
    assert ledger.wait(2) == ["done", "later"]


@BOTH_KINDS
def test_failing_a_message_makes_it_a_dead_letter(
    app: TestApp, worker: Worker, ledger: Ledger, is_ours: bool
) -> None:
    class Strict(dramatiq.Middleware):
        def after_process_message(
            self, broker: Any, message: Any, *, result: Any = None, exception: Any = None
        ) -> None:
            if result == "not good enough":
                message.fail()

    app.broker.add_middleware(Strict())

    def work() -> str:
        return "not good enough"

    sent = (task if is_ours else actor(app))(work).send()
    eventually(lambda: app.state(sent.message_id) == "failed")
    (dead,) = app.dead()
    assert dead.failure is not None
    assert dead.failure.id == sent.message_id


@BOTH_KINDS
def test_skipping_a_message_ends_it_without_a_run(
    app: TestApp, worker: Worker, ledger: Ledger, is_ours: bool
) -> None:
    class Picky(dramatiq.Middleware):
        def before_process_message(self, broker: Any, message: Any) -> None:
            raise SkipMessage("not today")

    app.broker.add_middleware(Picky())
    app.broker.add_middleware(Recorder(ledger))

    def work() -> None:
        ledger("ran")

    sent = (task if is_ours else actor(app))(work).send()
    handle: TaskHandle[None] = TaskHandle(sent.message_id)
    with pytest.raises(TaskSkipped, match="not today"):
        handle.result(10)
    assert handle.status_sync().state == "skipped"
    assert "ran" not in ledger.entries
    eventually(lambda: ("after_ack", "work") in ledger.entries)
    assert ("skipped", "work") in ledger.entries


def test_a_middleware_that_breaks_harms_no_task(app: TestApp, worker: Worker) -> None:
    class Broken(dramatiq.Middleware):
        def before_process_message(self, broker: Any, message: Any) -> None:
            raise RuntimeError("before")

        def after_process_message(self, broker: Any, message: Any, **facts: Any) -> None:
            raise RuntimeError("after")

        def before_ack(self, broker: Any, message: Any) -> None:
            raise RuntimeError("ack")

    app.broker.add_middleware(Broken())

    @task
    async def work() -> str:
        return "fine"

    assert work.apply_sync() == "fine"
    assert work.apply_sync() == "fine"


def test_dramatiqs_current_message_is_known_in_tasks_and_actors(
    app: TestApp, worker: Worker, ledger: Ledger
) -> None:
    from dramatiq.middleware import CurrentMessage

    app.broker.add_middleware(CurrentMessage())

    @task
    def ours() -> None:
        message = CurrentMessage.get_current_message()
        assert message is not None
        ledger(message.message_id, current_task.request.id)

    @actor(app)
    def plain() -> None:
        message = CurrentMessage.get_current_message()
        assert message is not None
        ledger(message.message_id, current_task.request.id)

    for declared in (ours, plain):
        ledger.entries.clear()
        sent = declared.send()
        assert ledger.wait(1) == [(sent.message_id, sent.message_id)]
