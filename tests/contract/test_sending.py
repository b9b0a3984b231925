"""Sending: each way to send, with options; what is refused leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import dramatiq
import pytest

from cifra_jobs import (
    ArgumentError,
    OptionError,
    TaskHandle,
    TaskNotFound,
    UnknownQueue,
    asend_many,
    current_task,
    send_many,
    task,
)
from cifra_jobs.errors import EncodeError
from tests.contract.modules.classes import Color, Frozen, Level, Order, Pair, Point, Word

if TYPE_CHECKING:
    from collections.abc import Callable

    from cifra_jobs.runtime.worker import Worker
    from tests.contract.kit import Ledger, TestApp, Workers


@pytest.fixture
def add(app: TestApp) -> Any:
    @task
    async def add(x: int, y: int = 1) -> int:
        return x + y

    return add


def test_send_gives_the_message_once_it_is_confirmed(app: TestApp, add: Any) -> None:
    message = add.send(1, y=2)
    assert isinstance(message, dramatiq.Message)
    assert (message.actor_name, message.args, message.kwargs) == ("add", (1,), {"y": 2})
    assert app.ready() == 1
    assert app.state(message.message_id) == "queued"


def test_message_makes_one_without_sending(app: TestApp, add: Any) -> None:
    message = add.message(1, 2)
    assert message.args == (1, 2)
    assert add.message_with_options(args=(1,), priority=9).options["set"] == {"priority": 9}
    app.declare([app.queue])
    assert app.ready() == 0
    app.broker.enqueue(message)
    assert app.ready() == 1


def test_send_with_options_takes_dramatiqs_milliseconds(
    app: TestApp, add: Any, worker: Worker
) -> None:
    before = datetime.now(UTC)
    message = add.send_with_options(args=(1,), kwargs={"y": 2}, delay=150, max_retries=0)
    handle: TaskHandle[int] = TaskHandle(message.message_id)
    assert handle.status_sync().state == "scheduled"
    assert handle.result(10) == 3
    assert datetime.now(UTC) - before >= timedelta(milliseconds=150)
    later = add.send_with_options(args=(1,), delay=timedelta(milliseconds=10))
    assert TaskHandle(later.message_id).result(10) == 2


async def test_asend_awaits_the_confirm(app: TestApp, add: Any) -> None:
    message = await add.asend(1, 2)
    assert app.ready() == 1
    assert app.state(message.message_id) == "queued"


def test_delay_outside_of_a_loop_returns_once_it_is_confirmed(app: TestApp, add: Any) -> None:
    handle = add.delay(1)
    assert isinstance(handle, TaskHandle)
    assert app.ready() == 1


async def test_delay_in_a_loop_returns_at_once_and_sends_all_the_same(
    app: TestApp, add: Any, worker: Worker
) -> None:
    handles = [add.delay(i) for i in range(20)]
    assert [await TaskHandle(str(handle)).get(10) for handle in handles] == list(range(1, 21))


async def test_awaiting_a_handle_gives_the_handle(app: TestApp, add: Any) -> None:
    handle = add.delay(1)
    assert await handle is handle
    assert await handle is handle
    assert app.ready() == 1


def test_apply_sync_and_apply_return_the_result(app: TestApp, add: Any, worker: Worker) -> None:
    assert add.apply_sync(1, y=2) == 3
    assert asyncio.run(add.apply(1, y=2)) == 3


def test_apply_async_takes_arguments_as_a_list_and_a_dict(
    app: TestApp, add: Any, worker: Worker
) -> None:
    assert add.apply_async([1, 2]).result(10) == 3
    assert add.apply_async((1,), {"y": 5}).result(10) == 6
    assert add.apply_async(args=(1,), kwargs={"y": 5}).result(10) == 6
    assert add.apply_async(kwargs={"x": 1}, priority=9).result(10) == 2


def test_a_call_may_name_its_queue(make: Any, app: TestApp, add: Any, workers: Workers) -> None:
    other = make.new_queue()
    task(name="names_the_queue", queue=other)(lambda: None)
    handle = add.apply_async((1,), queue=other)
    assert app.ready(other) == 1
    assert handle.status_sync().queue == other
    workers(queues=[other])
    assert handle.result(10) == 2


def test_a_queue_that_nobody_declared_is_refused_naming_those_that_exist(
    app: TestApp, add: Any
) -> None:
    add.delay(1)
    with pytest.raises(UnknownQueue, match=f"nobodys.*{app.queue}") as refused:
        add.apply_async((1,), queue="nobodys", task_id="lost")
    assert "nobodys" in str(refused.value)
    assert app.state("lost") in (None, "failed")


def test_a_call_may_name_its_id(app: TestApp, add: Any, worker: Worker) -> None:
    handle = add.apply_async((1,), task_id="order-17")
    assert handle == "order-17"
    assert handle.result(10) == 2
    longest = "я" * 64
    assert add.apply_async((1,), task_id=longest).result(10) == 2


@pytest.mark.parametrize("task_id", ["", "x" * 129, "я" * 65, "a\nb", 5, uuid4()], ids=repr)
def test_an_id_that_cannot_travel_is_refused(app: TestApp, add: Any, task_id: Any) -> None:
    with pytest.raises(OptionError, match="task_id"):
        add.apply_async((1,), task_id=task_id)


def test_a_task_may_have_the_longest_name_and_no_longer_one(app: TestApp, worker: Worker) -> None:
    longest = task(name="я" * 127)(lambda: "ran")
    assert longest.apply_sync() == "ran"
    with pytest.raises(OptionError, match="255 bytes"):
        task(name="я" * 128)(lambda: None)


# -- later -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "when",
    [
        pytest.param(lambda: {"countdown": 0.15}, id="countdown"),
        pytest.param(lambda: {"countdown": timedelta(milliseconds=150)}, id="timedelta"),
        pytest.param(
            lambda: {"eta": datetime.now(UTC) + timedelta(milliseconds=150)}, id="eta in utc"
        ),
        pytest.param(
            lambda: {"eta": datetime.now(ZoneInfo("Asia/Tokyo")) + timedelta(milliseconds=150)},
            id="eta in tokyo",
        ),
        pytest.param(
            lambda: {"eta": datetime.now() + timedelta(milliseconds=150)},  # noqa: DTZ005
            id="naive eta",
        ),
    ],
)
def test_a_call_for_later_is_scheduled_and_runs_then(
    app: TestApp, add: Any, workers: Workers, when: Callable[[], dict[str, Any]]
) -> None:
    sent_at = datetime.now(UTC)
    handle = add.apply_async((1,), **when())
    status = handle.status_sync()
    assert (status.status, status.state) == ("pending", "scheduled")
    assert status.eta is not None
    workers()
    assert handle.result(10) == 2
    started = handle.status_sync().started_at
    assert started is not None
    assert timedelta(milliseconds=145) < started - sent_at < timedelta(seconds=5)


async def test_apply_at_takes_a_moment_and_the_arguments(
    app: TestApp, add: Any, workers: Workers
) -> None:
    naive = datetime.now() + timedelta(milliseconds=100)  # noqa: DTZ005 - as documented
    handle = await add.apply_at(naive, 1, y=2)
    assert (await handle.status()).state == "scheduled"
    workers()
    assert await handle.get(10) == 3
    assert await add.apply_at(datetime.now(UTC) - timedelta(days=1), 1).get(10) == 2

    @task
    def dated(when: str) -> str:
        return when

    assert await dated.apply_at(datetime.now(UTC), when="noon").get(10) == "noon"


def test_naive_datetimes_may_be_forbidden(make_app: Callable[..., TestApp]) -> None:
    app = make_app(naive_datetimes="error")

    @task
    def work() -> None: ...

    naive = datetime(2030, 1, 1)  # noqa: DTZ001 - that it is naive is the point
    calls: list[Callable[[], object]] = [
        lambda: work.apply_at(naive),
        lambda: work.apply_async(eta=naive),
        lambda: work.apply_async(expires=naive),
    ]
    for call in calls:
        with pytest.raises(OptionError, match="no time zone"):
            call()
    app.declare([app.queue])
    assert app.ready() == 0
    assert work.apply_at(naive.replace(tzinfo=UTC)).status_sync().state == "scheduled"


@pytest.mark.parametrize(
    "options",
    [
        {"countdown": -1},
        {"countdown": "1h"},
        {"countdown": True},
        {"countdown": float("nan")},
        {"countdown": float("inf")},
        {"eta": 5},
        {"eta": "2030-01-01"},
        {"countdown": 1, "eta": datetime.now(UTC)},
        {"headers": "x"},
        {"headers": {5: "x"}},
        {"headers": {"": "x"}},
        {"headers": {"x" * 200: "x"}},
        {"headers": {"x": object()}},
        {"link": 5},
        {"link": "a_task"},
        {"link_error": [5]},
        {"priority": 11},
        {"queue": "a.b"},
        {"retires": 3},
        {"retry_for": ValueError},
        {"bind": True},
        {"name": "other"},
        {"sensitive": "x"},
        {"unique": True},
        {"idempotency_key": "k"},
        {"max_concurrency": 3},
    ],
    ids=str,
)
def test_a_bad_option_of_a_call_is_refused_and_nothing_is_sent(
    app: TestApp, add: Any, options: dict[str, Any]
) -> None:
    with pytest.raises((OptionError, EncodeError, NotImplementedError)) as refused:
        add.apply_async((1,), task_id="never", **options)
    assert "add" in str(refused.value) or next(iter(options)) in str(refused.value)
    app.declare([app.queue])
    assert app.ready() == 0
    with pytest.raises(TaskNotFound):
        TaskHandle("never").status_sync()


# -- arguments ---------------------------------------------------------------------------------

ZONED = datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1)
VALUES: list[Any] = [
    None,
    True,
    5,
    2**70,
    -1.5,
    float("inf"),
    "text ünd 文字 \x00",
    b"\x00\xff",
    UUID(int=5),
    datetime(2026, 1, 1, 12, 30, 15, 123456),  # noqa: DTZ001 - naive ones travel too
    datetime(2026, 1, 1, tzinfo=UTC),
    ZONED,
    date(2026, 2, 28),
    time(12, 30, 1, 5),
    timedelta(days=-3, microseconds=5),
    Decimal("10.50"),
    [1, [2]],
    (1, (2, "x")),
    {1, 2},
    frozenset({"a"}),
    {"a": {"b": (1,)}},
    {1: "one", (2, 3): "two"},
    {"__cifra__": "uuid", "v": "not one"},
    Color.RED,
    Level.HIGH,
    Word.YES,
    Point(1, 2.5, ["x"]),
    Frozen(UUID(int=7)),
    Order(id=UUID(int=9), lines=[Point(1)], note=None),
    Pair(1, {"x": Decimal(2)}),
]


@pytest.mark.parametrize(
    "value", VALUES, ids=lambda value: f"{type(value).__name__} {value!r}"[:40]
)
def test_a_value_comes_back_as_the_same_type(app: TestApp, worker: Worker, value: Any) -> None:
    @task
    async def echo(positional: Any, *, keyword: Any) -> Any:
        return positional, keyword, current_task.request.args, current_task.request.kwargs

    positional, keyword, args, kwargs = echo.apply_sync(value, keyword=[value])
    for got in (positional, keyword[0], args[0], kwargs["keyword"][0]):
        assert got == value
        assert type(got) is type(value)
        if isinstance(value, datetime):
            assert (got.tzinfo, got.fold) == (value.tzinfo, value.fold)


def test_a_handle_travels_as_a_plain_string(app: TestApp, worker: Worker, add: Any) -> None:
    @task
    def kind(value: Any) -> str:
        return type(value).__name__

    assert kind.apply_sync(add.delay(1)) == "str"


class Local:
    """Has no JSON form."""


@pytest.mark.parametrize(
    "value",
    [Local(), object(), lambda: None, open, Local, iter(()), 1j, memoryview(b""), "\ud800"],
    ids=lambda value: type(value).__name__,
)
def test_a_value_that_cannot_travel_is_refused_at_the_call_naming_the_argument(
    app: TestApp, value: Any
) -> None:
    @task
    def work(order: Any, other: Any = None) -> None: ...

    app.declare([app.queue])
    for call, name in (
        (lambda: work.delay(1, value), "argument 2"),
        (lambda: work.send(1, other=value), "argument 'other'"),
        (lambda: work.apply_async((1,), {"other": [value]}), "argument 'other'"),
        (lambda: work.apply_at(datetime.now(UTC), {"deep": [value]}), "argument 1"),
        (lambda: work.apply_sync(value), "argument 1"),
        (lambda: send_many([work.s(1), work.s(value)]), "argument 1"),
    ):
        with pytest.raises(ArgumentError, match=name) as refused:
            call()
        assert "work" in str(refused.value)
    assert app.ready() == 0


async def test_it_is_refused_at_the_call_in_a_loop_too(app: TestApp) -> None:
    @task
    def work(x: Any) -> None: ...

    with pytest.raises(ArgumentError, match="argument 1"):
        work.delay(object())
    with pytest.raises(ArgumentError, match="missing"):
        work.delay()  # type: ignore[call-arg]  # the mistake


def signatures(app: TestApp) -> dict[str, Any]:
    @task
    def plain(a: int, b: int = 2) -> None: ...

    @task
    def strict(a: int, /, b: int, *, c: int) -> None: ...

    @task
    def open_ended(*args: int, **kwargs: int) -> None: ...

    @task
    def bound(self: Any, a: int) -> None: ...

    return {each.actor_name: each for each in (plain, strict, open_ended, bound)}


@pytest.mark.parametrize(
    ("name", "args", "kwargs", "problem"),
    [
        ("plain", (), {}, "missing 1 required positional argument: 'a'"),
        ("plain", (1, 2, 3), {}, "takes from 1 to 2 positional arguments but 3 were given"),
        ("plain", (1,), {"a": 1}, "multiple values for argument 'a'"),
        ("plain", (1,), {"z": 1}, "unexpected keyword argument 'z'"),
        ("strict", (1, 2), {}, "missing 1 required keyword-only argument: 'c'"),
        ("strict", (), {"a": 1, "b": 2, "c": 3}, "positional-only"),
        ("bound", (), {}, "missing 1 required positional argument: 'a'"),
        ("bound", (1, 2), {}, "takes 1 positional argument but 2 were given"),
    ],
)
def test_a_call_that_does_not_fit_the_signature_is_refused_naming_it(
    app: TestApp, name: str, args: Any, kwargs: Any, problem: str
) -> None:
    work = signatures(app)[name]
    app.declare([app.queue])
    for call in (
        lambda: work.delay(*args, **kwargs),
        lambda: work.send(*args, **kwargs),
        lambda: app.broker.enqueue(work.message(*args, **kwargs)),
        lambda: work.apply_async(args, kwargs, task_id="never"),
        lambda: send_many([work.s(*args, **kwargs)]),
    ):
        with pytest.raises(ArgumentError, match=name) as refused:
            call()
        assert problem in str(refused.value)
    assert app.ready() == 0
    with pytest.raises(TaskNotFound):
        TaskHandle("never").status_sync()


@pytest.mark.parametrize(
    ("name", "args", "kwargs"),
    [
        ("plain", (1,), {}),
        ("plain", (), {"b": 1, "a": 2}),
        ("strict", (1, 2), {"c": 3}),
        ("open_ended", (), {}),
        ("open_ended", (1, 2), {"z": 3}),
        ("bound", (1,), {}),
    ],
)
def test_a_call_that_fits_is_taken(app: TestApp, name: str, args: Any, kwargs: Any) -> None:
    assert signatures(app)[name].message(*args, **kwargs).args == args


def test_a_message_that_is_too_large_is_refused(make_app: Callable[..., TestApp]) -> None:
    app = make_app(max_message_size="64KB")

    @task
    def work(x: str) -> None: ...

    app.declare([app.queue])
    with pytest.raises(ArgumentError, match=r"work.*max_message_size"):
        work.delay("x" * 70_000)
    assert app.ready() == 0
    work.delay("x" * 60_000)
    assert app.ready() == 1


def test_a_large_message_comes_back_whole(app: TestApp, worker: Worker) -> None:
    @task
    def length(x: str) -> int:
        return len(x)

    assert length.apply_sync("x" * 1_000_000) == 1_000_000


# -- many --------------------------------------------------------------------------------------


async def test_many_calls_are_sent_as_one_batch_in_order(
    app: TestApp, add: Any, worker: Worker
) -> None:
    handles = await asend_many([add.s(i) for i in range(30)])
    assert [await handle.get(10) for handle in handles] == list(range(1, 31))


@pytest.mark.parametrize("count", [0, 1, 499, 500, 501, 1700])
def test_any_number_of_calls_from_a_generator(app: TestApp, add: Any, count: int) -> None:
    app.declare([app.queue])
    handles = send_many(add.s(i) for i in range(count))
    assert len(handles) == len(set(handles)) == count
    assert app.ready() == count


@pytest.mark.parametrize("bad", ["value", "signature", "kind", "option"])
@pytest.mark.parametrize("is_async", [True, False])
async def test_a_list_with_one_bad_call_is_refused_whole(
    app: TestApp, add: Any, bad: str, is_async: bool
) -> None:
    app.declare([app.queue])
    wrong: Any = {
        "value": lambda: add.s(object()),
        "signature": add.s,
        "kind": lambda: 5,
        "option": lambda: add.s(1).link(5),
    }[bad]()
    calls = [add.s(i) for i in range(1200)] + [wrong]
    refused = pytest.raises((ArgumentError, OptionError))
    if is_async:
        with refused:
            await asend_many(calls)
    else:
        with refused:
            send_many(calls)
    assert app.ready() == 0


def test_signatures_of_a_batch_keep_their_options(
    app: TestApp, add: Any, workers: Workers, ledger: Ledger
) -> None:
    handles = send_many(
        [add.s(1).set(task_id="one", countdown=30), add.s(2).set(queue=app.queue, priority=9)]
    )
    assert handles[0] == "one"
    assert handles[0].status_sync().state == "scheduled"
    assert handles[1].status_sync().priority == 9


# -- the handle --------------------------------------------------------------------------------


def test_a_handle_goes_into_json_and_urls_as_it_is(app: TestApp, add: Any) -> None:
    handle = add.delay(1)
    assert json.loads(json.dumps({"id": handle})) == {"id": str(handle)}
    assert f"/api/tasks/{handle}" == "/api/tasks/" + handle.id
    assert type(handle.id) is str
    assert TaskHandle(handle.id) == handle
    assert {handle: 1}[handle.id] == 1


async def test_a_failure_that_nobody_awaits_is_logged_and_sets_failed(
    make_app: Callable[..., TestApp], caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app(is_faulty=True)

    @task
    def work() -> None: ...

    await work.delay()
    app.faulty_transport.lost = 1
    caplog.set_level(logging.ERROR)
    handle = work.delay()
    async with asyncio.timeout(10):
        async for status in handle.follow():
            if status.is_terminal:
                break
    assert status.state == "failed"
    assert "BrokerUnavailable" in str(status.error)
    events = [record.msg for record in caplog.records if isinstance(record.msg, dict)]
    assert any(
        "nobody awaited" in event["event"] and event["task_id"] == handle for event in events
    )


def test_leaving_the_process_flushes_what_was_not_awaited(
    make: Any, app: TestApp, tmp_path: Any
) -> None:
    if make.is_memory:
        # Nothing leaves this process: there is nowhere to find it afterwards.
        return
    app.declare([app.queue])
    program = (
        "import asyncio, cifra_jobs\n"
        f"cifra_jobs.configure(broker={make.broker!r}, result_backend={make.result_backend!r},"
        f" namespace={app.settings.namespace!r}, task_defaults={{'queue': {app.queue!r}}})\n"
        "@cifra_jobs.task\n"
        "async def work(x): ...\n"
        "async def main():\n"
        "    for i in range(100): work.delay(i)\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": ":".join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert app.ready() == 100


def test_dramatiqs_global_broker_is_set_only_if_there_is_none(tmp_path: Any) -> None:
    program = (
        "import dramatiq, sys\n"
        "from dramatiq.brokers.stub import StubBroker\n"
        "theirs = StubBroker()\n"
        "if 'theirs' in sys.argv: dramatiq.set_broker(theirs)\n"
        "import cifra_jobs\n"
        "print(dramatiq.get_broker() is (theirs if 'theirs' in sys.argv"
        " else cifra_jobs.current_app().broker))\n"
    )
    for argument in ("theirs", "ours"):
        done = subprocess.run(
            [sys.executable, "-c", program, argument],
            cwd=tmp_path,
            env={"PYTHONPATH": ":".join(filter(None, sys.path))},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.stdout == "True\n", done.stderr
