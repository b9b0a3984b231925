"""The same tests over both makes: everything in memory, and RabbitMQ with Redis.

Each test has an app of its own (the process's app while the test runs, so that ``@task`` inside a
test registers there), one queue that its tasks go to by default, and workers in this process.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

import cifra_jobs.app as app_module
from cifra_jobs.wiring import open_store, open_transport
from tests.contract.faults import FaultyStore, FaultyTransport
from tests.contract.kit import Gate, Ledger, Make, TestApp, Workers, delete_ladder, delete_queues

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cifra_jobs.dev.discovery import FoundServer
    from cifra_jobs.runtime.worker import Worker


@pytest.fixture(scope="session")
def rabbitmq(rabbitmq_server: FoundServer) -> Iterator[FoundServer]:
    """The RabbitMQ of the run; what all queues shared is deleted at its end."""
    yield rabbitmq_server
    delete_ladder(rabbitmq_server.url)


@pytest.fixture(params=["memory", "rabbitmq"])
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    """The make under test: ``memory``, and ``rabbitmq`` with Redis."""
    if request.param == "memory":
        yield Make("memory", {"type": "memory"}, {"type": "memory"})
        return
    rabbitmq = request.getfixturevalue("rabbitmq")
    redis = request.getfixturevalue("redis_server")
    made = Make(
        "rabbitmq", {"type": "rabbitmq", "url": rabbitmq.url}, {"type": "redis", "url": redis.url}
    )
    yield made
    delete_queues(rabbitmq.url, made.queues)


@pytest.fixture
def make_app(
    make: Make,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[..., TestApp]]:
    """Build an app with settings of one's own; it is the process's app until the test ends.

    ``make_app(publish_timeout=0.5, …)``. With ``is_faulty=True`` its ``faulty_transport`` and
    ``faulty_store`` can be told to fail; ``beside=other`` is the app of another process of the
    same deployment, with the same tasks.
    """
    # Away from the reference config.yaml of the repository.
    monkeypatch.chdir(tmp_path_factory.mktemp("cwd"))
    before = app_module.current_app()
    apps: list[TestApp] = []
    opened: list[Any] = []

    def build(*, is_faulty: bool = False, beside: Any = None, **more: Any) -> TestApp:
        queue = more.pop("queue", None) or (beside.queue if beside else make.new_queue())
        defaults = {"queue": queue, **more.pop("task_defaults", {})}
        settings = make.settings(task_defaults=defaults, **more)
        transport: Any = None
        store: Any = None
        if beside is not None and make.is_memory:
            # Another process would reach the same servers; in memory they are these objects.
            transport, store = unwrapped(beside.transport), unwrapped(beside.store)
        if is_faulty:
            trace: list[tuple[str, str]] = []
            transport = FaultyTransport(transport or open_transport(settings, "test"), trace)
            store = FaultyStore(store or open_store(settings, "test"), trace)
            opened.extend([transport.inner, store.inner])
        app = TestApp(settings, transport=transport, store=store)
        if is_faulty:
            app.faulty_transport, app.faulty_store = transport, store
        if beside is not None:
            app.broker.actors.update(beside.broker.actors)
            app.broker.queues.update(beside.broker.queues)
        app.queue = queue
        apps.append(app)
        if beside is None:
            app.install()
        return app

    yield build
    for app in reversed(apps):
        app.close()
    for part in opened:
        part.close()
    before.install()


def unwrapped(part: Any) -> Any:
    """What is behind a faulty part."""
    return part.inner if isinstance(part, FaultyTransport | FaultyStore) else part


@pytest.fixture
def app(make_app: Callable[..., TestApp]) -> TestApp:
    """The process's app for this test, with a queue of its own as every task's default."""
    return make_app()


@pytest.fixture
def ledger() -> Ledger:
    """Where task bodies note what they did."""
    return Ledger()


@pytest.fixture
def gate() -> Iterator[Gate]:
    """A gate that task bodies may wait at."""
    gate = Gate()
    yield gate
    gate.open()


@pytest.fixture
def workers(app: TestApp) -> Iterator[Workers]:
    """Starts and kills workers over ``app``: ``workers(concurrency=1)``, ``workers.kill(w)``."""
    crew = Workers(app)
    yield crew
    crew.stop_all()


@pytest.fixture
def new_workers(make_app: Callable[..., TestApp]) -> Iterator[Callable[[TestApp], Workers]]:
    """`workers` for a test that builds its app itself: ``workers = new_workers(app)``."""
    crews: list[Workers] = []

    def hire(app: TestApp) -> Workers:
        crews.append(Workers(app))
        return crews[-1]

    yield hire
    for crew in crews:
        crew.stop_all()


@pytest.fixture
def worker(workers: Workers) -> Worker:
    """One worker over ``app``, with two slots."""
    return workers()


@pytest.fixture
def log_lines(caplog: pytest.LogCaptureFixture) -> Callable[[], list[dict[str, Any]]]:
    """What was logged so far, as dicts: ``event``, ``level``, ``task_id``, …."""
    caplog.set_level(logging.INFO)
    return lambda: [record.msg for record in caplog.records if isinstance(record.msg, dict)]
