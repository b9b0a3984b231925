"""What is sent after the final outcome: ``on_success``, ``on_failure``, links; and signatures."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from cifra_jobs import (
    ArgumentError,
    Ignore,
    NotYetBuilt,
    OptionError,
    Signature,
    TaskFailed,
    TaskHandle,
    current_task,
    signature,
    task,
)
from cifra_jobs.testing.assertions import eventually

if TYPE_CHECKING:
    from cifra_jobs.runtime.worker import Worker
    from tests.contract.kit import Ledger, TestApp, Workers


@pytest.fixture
def note(app: TestApp, ledger: Ledger) -> Any:
    """A task that writes its arguments into the ledger."""

    @task
    def note(*args: Any, **kwargs: Any) -> None:
        ledger(*args, *([kwargs] if kwargs else []))

    return note


def settle(app: TestApp, worker: Worker) -> None:
    """Wait until nothing more can come."""

    @task(name="last")
    def last() -> None: ...

    last.apply_sync()
    eventually(lambda: app.ready() == 0)
    last.apply_sync()


def test_on_success_gets_the_id_and_the_result(
    app: TestApp, worker: Worker, note: Any, ledger: Ledger
) -> None:
    @task(on_success=note)
    async def work(x: int) -> dict[str, int]:
        return {"x": x}

    handle = work.delay(1)
    assert ledger.wait(1) == [(handle, {"x": 1})]
    settle(app, worker)
    assert len(ledger) == 1


def test_on_failure_gets_id_exception_and_traceback_as_text(
    app: TestApp, worker: Worker, note: Any, ledger: Ledger
) -> None:
    @task(on_failure=note, retry=2, retry_delay=0)
    async def work() -> None:
        raise ValueError("why")

    handle = work.delay()
    ((task_id, exception, traceback),) = ledger.wait(1)
    assert task_id == handle
    assert exception == "ValueError: why"
    assert isinstance(traceback, str)
    assert traceback.startswith("Traceback")
    assert 'raise ValueError("why")' in traceback
    settle(app, worker)
    assert len(ledger) == 1


@pytest.mark.parametrize(
    "error", [TaskFailed("no", retry=False), Ignore("x"), ValueError("x")], ids=repr
)
def test_only_the_callback_of_the_outcome_is_sent(
    app: TestApp, worker: Worker, ledger: Ledger, error: Exception
) -> None:
    @task
    def failed(task_id: str, exception: str, traceback: str) -> None:
        ledger("failed")

    @task
    def succeeded(task_id: str, result: Any) -> None:
        ledger("succeeded")

    @task(on_success=succeeded, on_failure=failed, retry=0)
    def work() -> None:
        raise error

    work.delay().wait_sync(10)
    settle(app, worker)
    assert ledger.entries == ([] if isinstance(error, Ignore) else ["failed"])


def test_an_expired_task_has_failed(
    app: TestApp, workers: Workers, note: Any, ledger: Ledger
) -> None:
    @task(on_failure=note, expires=0)
    def work() -> None: ...

    handle = work.delay()
    workers()
    ((task_id, exception, _),) = ledger.wait(1)
    assert task_id == handle
    assert "TaskExpired" in exception


@pytest.mark.parametrize("where", ["decorator", "call"])
def test_callbacks_may_be_names_and_lists(
    app: TestApp, worker: Worker, ledger: Ledger, where: str
) -> None:
    @task
    def one(task_id: str, result: Any) -> None:
        ledger("one", result)

    @task
    async def two(task_id: str, result: Any) -> None:
        ledger("two", result)

    options: dict[str, Any] = {"on_success": [one, "two"]}

    @task(**(options if where == "decorator" else {}))
    def work() -> int:
        return 5

    work.apply_async(**(options if where == "call" else {}))
    assert sorted(ledger.wait(2)) == [("one", 5), ("two", 5)]


def test_a_callback_declared_later_may_be_named(
    app: TestApp, worker: Worker, ledger: Ledger
) -> None:
    @task(on_success="comes_later")
    def work() -> int:
        return 5

    @task
    def comes_later(task_id: str, result: int) -> None:
        ledger(result)

    work.delay()
    assert ledger.wait(1) == [5]


def test_a_callback_keeps_its_own_options(
    make: Any, app: TestApp, worker: Worker, ledger: Ledger
) -> None:
    other = make.new_queue()

    @task(queue=other, priority=8, expires=0)
    def callback(task_id: str, result: int) -> None:
        ledger(result)

    @task(on_success=callback)
    def work() -> int:
        return 5

    work.apply_sync()
    eventually(lambda: app.ready(other) == 1)
    taken = next(app.broker.consume(other))
    assert taken is not None
    assert taken.options["expires_at"] <= taken.message_timestamp
    status = TaskHandle(taken.message_id).status_sync()
    assert (status.queue, status.priority) == (other, 8)


def test_a_callback_that_fails_changes_nothing_of_its_task(app: TestApp, worker: Worker) -> None:
    @task(retry=0)
    def broken(task_id: str, result: int) -> None:
        raise ValueError("broken")

    @task(on_success=broken)
    def work() -> int:
        return 5

    handle = work.delay()
    assert handle.result(10) == 5
    settle(app, worker)
    assert handle.status_sync().state == "success"


def test_a_large_result_reaches_its_callback(app: TestApp, worker: Worker, ledger: Ledger) -> None:
    @task
    def measure(task_id: str, result: str) -> None:
        ledger(len(result))

    @task(on_success=measure)
    def large() -> str:
        return "x" * 200_000

    large.delay()
    assert ledger.wait(1) == [200_000]


def test_a_result_that_is_not_kept_reaches_its_callback(
    app: TestApp, worker: Worker, note: Any, ledger: Ledger
) -> None:
    @task(on_success=note, ignore_result=True)
    def work() -> tuple[int, ...]:
        return (1, 2)

    handle = work.delay()
    assert ledger.wait(1) == [(handle, (1, 2))]
    assert handle.result(10) is None


def test_a_callback_knows_its_parent(app: TestApp, worker: Worker, ledger: Ledger) -> None:
    @task
    def callback(task_id: str, result: Any) -> None:
        ledger(current_task.request.root_id, current_task.request.parent_id)

    @task(on_success=callback)
    def child() -> None: ...

    @task
    def root() -> str:
        return str(child.delay())

    handle = root.delay()
    child_id = handle.result(10)
    assert ledger.wait(1) == [(handle, child_id)]


# -- links -------------------------------------------------------------------------------------


def test_links_are_sent_with_the_result(
    app: TestApp, worker: Worker, note: Any, ledger: Ledger
) -> None:
    @task
    def work() -> int:
        return 5

    work.apply_async(link=note.s("own"))
    assert ledger.wait(1) == [(5, "own")]
    work.apply_async(link=[note.si("immutable"), note.s(k=1)])
    assert sorted(map(str, ledger.wait(3)[1:])) == ["(5, {'k': 1})", "immutable"]


def test_an_error_link_is_sent_with_text(
    app: TestApp, worker: Worker, note: Any, ledger: Ledger
) -> None:
    @task(retry=0)
    def work() -> None:
        raise ValueError("why")

    handle = work.apply_async(link=note.s("never"), link_error=note.s("own"))
    ((task_id, exception, traceback, own),) = ledger.wait(1)
    assert (task_id, exception, own) == (handle, "ValueError: why", "own")
    assert "Traceback" in traceback


def test_a_link_keeps_the_options_of_its_signature(
    app: TestApp, worker: Worker, ledger: Ledger
) -> None:
    @task
    def callback(result: int) -> None:
        request = current_task.request
        ledger(request.id, request.priority, request.headers, datetime.now(UTC))

    @task
    def work() -> int:
        return 5

    ended = datetime.now(UTC)
    link = callback.s().set(task_id="chosen", priority=8, countdown=0.1, headers={"a": 1})
    work.apply_async(link=link)
    ((task_id, priority, headers, at),) = ledger.wait(1)
    assert (task_id, priority, headers) == ("chosen", 8, {"a": 1})
    assert at - ended >= timedelta(milliseconds=100)
    assert TaskHandle("chosen").status_sync().eta is not None


def test_links_may_have_links(app: TestApp, worker: Worker, note: Any, ledger: Ledger) -> None:
    @task
    def add(x: int, y: int = 1) -> int:
        return x + y

    add.s(1).link(add.s().link(note.s("deep"))).delay()
    assert ledger.wait(1) == [(3, "deep")]


# -- signatures --------------------------------------------------------------------------------


@pytest.fixture
def gather(app: TestApp) -> Any:
    """Gives back its arguments."""

    @task
    def gather(*args: Any, **kwargs: Any) -> list[Any]:
        return [*args, kwargs]

    return gather


def test_a_signature_is_sent_with_more_arguments(app: TestApp, worker: Worker, gather: Any) -> None:
    call = gather.s(1, a=1)
    assert isinstance(call, Signature)
    assert call.delay().result(10) == [1, {"a": 1}]
    assert call.delay(0, b=2).result(10) == [0, 1, {"a": 1, "b": 2}]
    assert call.apply_async((0,), {"a": 5}).result(10) == [0, 1, {"a": 5}]
    assert asyncio.run(call.apply(0)) == [0, 1, {"a": 1}]
    assert gather.si(1).delay(0, b=2).result(10) == [1, {}]
    assert gather.signature(1).delay().result(10) == [1, {}]
    assert signature("gather", (1,), {"b": 2}).delay().result(10) == [1, {"b": 2}]
    assert signature(gather, (1,), immutable=True).delay(5).result(10) == [1, {}]


def test_a_signature_is_never_changed(app: TestApp, gather: Any) -> None:
    call = gather.s(1)
    more = call.set(priority=9).clone(0, b=1)
    assert (call.args, call.kwargs, call.options) == ((1,), {}, {})
    assert (more.args, more.kwargs, more.options) == ((0, 1), {"b": 1}, {"priority": 9})
    assert call.set(immutable=True).clone(5).args == (1,)
    assert call.link(gather.s()) != call
    assert call.options == {}
    assert "gather.s(0, 1, b=1)" in repr(more)


def test_options_of_a_signature_and_of_its_call_are_merged(
    app: TestApp, worker: Worker, gather: Any
) -> None:
    call = gather.s(1).set(priority=2, max_retries=1, countdown=30)
    handle = call.apply_async(priority=9, retry=0, countdown=0)
    assert handle.status_sync().priority == 9
    assert handle.result(10) == [1, {}]


def test_a_wrong_option_of_a_signature_is_refused_at_once(app: TestApp, gather: Any) -> None:
    for options in ({"prioritty": 9}, {"priority": 10}, {"bind": True}):
        with pytest.raises(OptionError):
            gather.s(1).set(**options)
        with pytest.raises(OptionError):
            signature("gather", **options)
    with pytest.raises(NotYetBuilt):
        gather.s(1).set(unique=True)


def test_a_signature_is_plain_data_and_back(app: TestApp, gather: Any) -> None:
    call = gather.si(1, a=2).set(priority=9, retry=1).link(gather.s(5)).link_error(gather.s())
    data = call.to_dict()
    assert json.loads(json.dumps(data)) == data
    assert Signature.from_dict(data).to_dict() == data


def test_composing_signatures_is_refused_with_a_sentence(app: TestApp, gather: Any) -> None:
    with pytest.raises(NotYetBuilt, match="chains"):
        _ = gather.s(1) | gather.s()


def test_a_signature_that_does_not_fit_is_refused_when_it_is_sent(app: TestApp) -> None:
    @task
    def strict(a: int) -> None: ...

    with pytest.raises(ArgumentError, match="strict"):
        strict.s(1, 2).delay()
    with pytest.raises(Exception, match="unknown_name"):
        signature("unknown_name").delay()
