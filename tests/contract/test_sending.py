"""What a sender is told, and what is left behind when a send fails."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from cifra_jobs import BrokerUnavailable, TaskNotFound, UnknownQueue, send_many, task
from cifra_jobs.errors import TopologyMismatch
from cifra_jobs.testing.assertions import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.contract.kit import Ledger, TestApp, Workers


def test_a_send_that_is_not_confirmed_raises_and_its_record_is_failed(
    make_app: Callable[..., TestApp],
) -> None:
    app = make_app(is_faulty=True)
    app.faulty_transport.lost = 1

    @task
    def work() -> None: ...

    with pytest.raises(BrokerUnavailable):
        work.apply_async(task_id=(task_id := f"lost-{app.queue}"))
    assert app.state(task_id) == "failed"
    assert app.ready() == 0


def test_a_message_that_arrived_without_its_confirm_revives_its_record(
    make_app: Callable[..., TestApp], new_workers: Callable[[TestApp], Workers], ledger: Ledger
) -> None:
    app = make_app(is_faulty=True)
    app.faulty_transport.unconfirmed = 1

    @task
    def work() -> str:
        ledger("ran")
        return "done"

    task_id = f"doubt-{app.queue}"
    with pytest.raises(BrokerUnavailable):
        work.apply_async(task_id=task_id)
    assert app.state(task_id) == "failed"
    # In doubt, the sender sends it again under the same id.
    handle = work.apply_async(task_id=task_id)
    assert app.state(task_id) == "queued"
    new_workers(app)()
    assert handle.result(5) == "done"
    eventually(lambda: app.ready() == 0)
    assert ledger.entries == ["ran"]
    assert app.state(task_id) == "success"


def test_a_message_that_arrived_without_its_confirm_runs_if_nobody_sends_it_again(
    make_app: Callable[..., TestApp], new_workers: Callable[[TestApp], Workers]
) -> None:
    app = make_app(is_faulty=True)
    app.faulty_transport.unconfirmed = 1

    @task
    def work() -> str:
        return "done"

    task_id = f"doubt-{app.queue}"
    with pytest.raises(BrokerUnavailable):
        work.apply_async(task_id=task_id)
    new_workers(app)()
    eventually(lambda: app.state(task_id) == "success")
    record = app.get(task_id)
    assert record is not None
    assert record.error is None


def test_sending_a_finished_task_again_changes_nothing(
    app: TestApp, workers: Workers, ledger: Ledger
) -> None:
    @task
    def work() -> str:
        ledger("ran")
        return "done"

    workers()
    handle = work.delay()
    assert handle.result(5) == "done"
    again = work.apply_async(task_id=handle)
    assert again.result(5) == "done"
    eventually(lambda: app.ready() == 0)
    assert ledger.entries == ["ran"]


async def test_a_send_in_a_loop_that_nobody_awaits_is_logged_when_it_fails(
    make_app: Callable[..., TestApp], log_lines: Callable[[], list[dict[str, Any]]]
) -> None:
    app = make_app(is_faulty=True)
    app.faulty_transport.lost = 1

    @task
    def work() -> None: ...

    handle = work.delay()
    eventually(lambda: app.state(handle) == "failed")
    eventually(
        lambda: any(
            line["level"] == "error" and line.get("task_id") == handle for line in log_lines()
        )
    )
    app.faulty_transport.lost = 1
    with pytest.raises(BrokerUnavailable):
        await work.delay()


def test_an_unknown_queue_is_refused_with_those_that_exist_and_leaves_nothing_behind(
    app: TestApp,
) -> None:
    @task
    def work() -> None: ...

    work.delay()
    task_id = f"nowhere-{app.queue}"
    with pytest.raises(UnknownQueue) as caught:
        work.apply_async(task_id=task_id, queue="nowhere")
    assert "nowhere" in str(caught.value)
    assert app.queue in str(caught.value)
    assert app.state(task_id) in {None, "failed"}
    assert app.ready() == 1


@pytest.mark.parametrize("options", [{"countdown": 3600}, {"countdown": 0.001}])
def test_a_delayed_send_to_an_unknown_queue_is_refused_now_and_not_in_an_hour(
    app: TestApp, options: dict[str, Any]
) -> None:
    @task
    def work() -> None: ...

    with pytest.raises(UnknownQueue):
        work.apply_async(queue="nowhere", **options)


def test_a_queue_name_that_cannot_be_is_refused_with_a_sentence(app: TestApp) -> None:
    @task
    def work() -> None: ...

    with pytest.raises((UnknownQueue, ValueError), match=r"dot|nobody|no queue|there is no"):
        work.apply_async(queue="with.dot")


def test_verify_mode_refuses_what_does_not_exist_and_uses_what_does(
    make_app: Callable[..., TestApp], new_workers: Callable[[TestApp], Workers]
) -> None:
    maker = make_app()
    maker.declare([maker.queue])
    strict = make_app(topology="verify", queue=maker.queue, queues={maker.queue: {}})

    @task
    def work() -> str:
        return "done"

    @task(queue="never-declared")
    def lost() -> None: ...

    with pytest.raises((TopologyMismatch, UnknownQueue), match="never-declared"):
        lost.delay()
    new_workers(strict)()
    assert work.apply_sync() == "done"
    assert lost.queue == "never-declared"


def test_a_list_is_sent_whole_or_not_at_all(app: TestApp, workers: Workers) -> None:
    @task
    def work(number: int) -> int:
        return number

    with pytest.raises(TypeError):
        send_many([work.s(1), work.s(object())])
    app.declare([app.queue])
    assert app.ready() == 0
    workers(concurrency=8)
    handles = send_many(work.s(number) for number in range(1200))
    assert [handle.result(10) for handle in handles] == list(range(1200))


def test_a_dead_broker_is_reported_within_the_publish_timeout(
    make_app: Callable[..., TestApp],
) -> None:
    app = make_app(publish_timeout=0.4)

    @task
    def work() -> None: ...

    work.delay()
    break_broker(app)
    begun = time.monotonic()
    with pytest.raises(BrokerUnavailable):
        work.apply_async(task_id=(task_id := f"dead-{app.queue}"))
    assert time.monotonic() - begun < 1.5
    assert app.state(task_id) == "failed"


def break_broker(app: TestApp) -> None:
    """The broker is gone, for this app."""
    transport: Any = app.transport
    if hasattr(transport, "break_connection"):
        transport.break_connection()
        return
    # Its addresses lead nowhere any more, and the connection breaks.
    connection = transport._publisher.connection  # noqa: SLF001
    connection._urls = iter(lambda: "amqp://guest:guest@127.0.0.1:1/%2F", None)  # noqa: SLF001
    connection.call(lambda: connection.drop("broken by the test"))
    eventually(lambda: not connection.is_up)


def test_a_task_that_was_never_sent_is_not_found(app: TestApp) -> None:
    from cifra_jobs import TaskHandle, TaskStatus

    with pytest.raises(TaskNotFound, match="never-sent"):
        TaskStatus.get_sync("never-sent")
    with pytest.raises(TaskNotFound):
        TaskHandle("never-sent").result(1)
    with pytest.raises(TaskNotFound):
        TaskHandle("never-sent").revoke_sync()


def test_a_body_over_16_kb_travels_compressed_and_comes_back_whole(
    make_app: Callable[..., TestApp], new_workers: Callable[[TestApp], Workers]
) -> None:
    app = make_app()

    @task
    def measure(text: str) -> int:
        return len(text)

    small = app.publication(measure.message("x" * 1_000), app.queue, 0)
    large = app.publication(measure.message("x" * 100_000), app.queue, 0)
    assert small.content_encoding is None
    assert large.content_encoding == "deflate"
    assert len(large.body) < 5_000
    new_workers(app)()
    assert measure.apply_sync("x" * 100_000) == 100_000


@pytest.mark.parametrize("limit", [2_000, 40_000])
def test_a_message_over_max_message_size_is_refused_at_the_call(
    make_app: Callable[..., TestApp], limit: int
) -> None:
    app = make_app(max_message_size=limit)

    @task
    def measure(text: str) -> int:
        return len(text)

    app.declare([app.queue])
    with pytest.raises(TypeError, match="max_message_size"):
        measure.delay("x" * (limit + 1))
    assert app.ready() == 0
