"""Nine is served first; and which of the places where an option may stand wins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from cifra_jobs import NotYetBuilt, OptionError, configure, task
from cifra_jobs.config import Settings
from cifra_jobs.errors import CifraError
from cifra_jobs.testing.assertions import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.contract.kit import Ledger, TestApp, Workers


@pytest.mark.parametrize("where", ["broker", "worker"])
@pytest.mark.parametrize("is_async", [True, False], ids=["async", "thread"])
def test_nine_is_served_first(
    app: TestApp, workers: Workers, ledger: Ledger, where: str, is_async: bool
) -> None:
    async def coroutine(p: int) -> None:
        ledger(p)

    work = task(name="work")(coroutine if is_async else lambda p: ledger(p))  # noqa: PLW0108 - a ledger is no function
    order = [3, 9, 0, 5, 1, 7]
    if where == "broker":
        # One at a time is taken: the order is RabbitMQ's.
        for p in order:
            work.apply_async((p,), priority=p)
        workers(concurrency=1)
    else:
        worker = workers(concurrency=1, prefetch_multiplier=10)
        worker.pause()
        for p in order:
            work.apply_async((p,), priority=p)
        eventually(lambda: len(worker.dispatcher._heap) == 6)  # noqa: SLF001 - nobody else asks
        worker.resume()
    assert ledger.wait(6) == sorted(order, reverse=True)


def test_a_tasks_priority_holds_for_its_calls(
    app: TestApp, workers: Workers, ledger: Ledger
) -> None:
    declared = {p: task(name=f"work{p}", priority=p)(lambda p=p: ledger(p)) for p in (1, 5, 9)}
    for p in (5, 1, 9):
        declared[p].delay()
    workers(concurrency=1)
    assert ledger.wait(3) == [9, 5, 1]
    assert declared[9].priority == 0
    assert declared[9].options["priority"] == 9


def test_a_retry_keeps_its_priority(app: TestApp, workers: Workers, ledger: Ledger) -> None:
    from cifra_jobs import current_task

    @task(retry=1, retry_delay=0)
    def work() -> None:
        ledger(current_task.request.priority)
        if len(ledger) == 1:
            raise ValueError

    workers()
    work.apply_async(priority=8).result(10)
    assert ledger.entries == [8, 8]


# -- look-up -----------------------------------------------------------------------------------


def test_message_beats_route_beats_decorator_beats_defaults_beats_settings(
    make_app: Callable[..., TestApp],
) -> None:
    make_app(
        retry={"max_retries": 1, "default_retry_delay": 1, "retry_backoff_max": 1},
        result_backend={"expires": 1},
        task_defaults={"retry": 2, "retry_delay": 2, "timeout": 2, "priority": 2},
        task_routes={"work": {"timeout": 4, "priority": 4, "expires": 4}},
    )

    @task(retry_delay=3, timeout=3, priority=3)
    def work() -> None: ...

    @task
    def bare() -> None: ...

    options = work.resolved({"priority": 5})
    assert options.result_ttl_ms == 1000  # settings
    assert options.retry_backoff_max_ms == 1000  # settings
    assert options.max_retries == 2  # task_defaults
    assert options.retry_delay_ms == 3000  # decorator
    assert options.timeout_s == 4  # route
    assert options.expires == 4  # route
    assert options.priority == 5  # message
    assert bare.resolved().timeout_s == 2
    assert bare.resolved().priority == 2


@pytest.mark.parametrize("place", ["task_defaults", "decorator", "task_routes", "message"])
def test_an_option_acts_wherever_it_stands(
    make_app: Callable[..., TestApp],
    new_workers: Callable[[TestApp], Workers],
    ledger: Ledger,
    place: str,
) -> None:
    places: dict[str, dict[str, Any]] = {
        "task_defaults": {"retry": 0},
        "task_routes": {},
        "decorator": {},
        "message": {},
    }
    for later in list(places)[list(places).index(place) :]:
        if later == place:
            places[later] = {"retry": 2, "retry_delay": 0}
    app = make_app(
        task_defaults=places["task_defaults"], task_routes={"work": places["task_routes"]}
    )

    @task(**places["decorator"])
    def work() -> None:
        ledger("ran")
        raise ValueError

    new_workers(app)()
    work.apply_async(**places["message"]).wait_sync(10)
    assert len(ledger) == 3


def test_a_route_sends_a_task_to_another_queue(
    make: Any, make_app: Callable[..., TestApp], new_workers: Callable[[TestApp], Workers]
) -> None:
    other = make.new_queue()
    app = make_app(task_routes={"routed": {"queue": other}})

    @task(queue="declared")
    def routed() -> str:
        return "ran"

    handle = routed.delay()
    assert app.ready(other) == 1
    assert handle.status_sync().queue == other
    new_workers(app)(queues=[other])
    assert handle.result(10) == "ran"


def test_routes_may_be_configured_after_the_tasks_are_declared(make: Any, app: TestApp) -> None:
    @task
    def work() -> None: ...

    other = make.new_queue()
    configure(
        broker=make.broker,
        result_backend=make.result_backend,
        namespace=app.settings.namespace,
        task_routes={"work": {"queue": other, "priority": 7}},
        task_defaults={"timeout": 30},
    )
    assert work.queue == other
    assert work.resolved().timeout_s == 30
    handle = work.delay()
    assert app.ready(other) == 1
    assert handle.status_sync().priority == 7


def test_routes_by_pattern_are_refused_with_a_sentence() -> None:
    with pytest.raises(NotYetBuilt, match="pattern"):
        Settings(None, broker={"type": "memory"}, task_routes={"reports.*": {"queue": "slow"}})


@pytest.mark.parametrize(
    ("settings", "path", "hint"),
    [
        ({"task_defaults": {"time_out": 5}}, "task_defaults", "timeout"),
        ({"task_defaults": {"timeout": -5}}, "task_defaults", "timeout"),
        ({"task_routes": {"work": {"quue": "x"}}}, "task_routes", "queue"),
        ({"task_routes": {"work": {"priority": 50}}}, "task_routes", "priority"),
        ({"task_routes": {"work": {"queue": "a.b"}}}, "task_routes", "queue"),
        ({"task_routes": {"work": {"unique": True}}}, "task_routes", "unique"),
    ],
    ids=str,
)
def test_a_wrong_option_in_the_settings_stops_the_start(
    make_app: Callable[..., TestApp],
    new_workers: Callable[[TestApp], Workers],
    settings: dict[str, Any],
    path: str,
    hint: str,
) -> None:
    with pytest.raises(CifraError, match=path) as refused:
        new_workers(make_app(**settings))()
    assert hint in str(refused.value)
    assert "work" in str(refused.value) or path == "task_defaults"


def test_a_wrong_option_in_the_settings_is_refused_at_the_call_too(
    make_app: Callable[..., TestApp],
) -> None:
    with pytest.raises((CifraError, OptionError), match="time_out"):  # noqa: PT012 - by whichever
        make_app(task_defaults={"time_out": 5})

        @task
        def work() -> None: ...

        work.delay()
