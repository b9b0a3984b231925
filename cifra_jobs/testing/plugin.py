"""The pytest plugin: servers for a session, a memory broker, an app with or without a worker.

Installed with cifra_jobs and loaded by pytest on its own::

    def test_a_greeting_is_sent(jobs_app):
        assert greet.delay("you").result(timeout=5) == "hello you"
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cifra_jobs.app import App
    from cifra_jobs.brokers.memory import MemoryTransport
    from cifra_jobs.dev.discovery import FoundServer, Servers

__all__ = [
    "cifra_servers",
    "idle_jobs_app",
    "jobs_app",
    "memory_broker",
    "rabbitmq_server",
    "redis_server",
]

#: Attempts at once of the worker of `jobs_app`.
_CONCURRENCY = 8
#: Seconds that runs get to end when a test is over.
_GRACE_S = 5.0

# The suites' own assertions should explain themselves like those of a test module.
pytest.register_assert_rewrite("cifra_jobs.testing.conformance")

_FOUND = pytest.StashKey["Servers"]()


@pytest.fixture(scope="session")
def cifra_servers(request: pytest.FixtureRequest) -> Iterator[Servers]:
    """RabbitMQ and Redis for the whole run, ended with it.

    Those named by ``RABBITMQ_URL`` and ``REDIS_URL``, else containers, else private children.
    """
    from cifra_jobs.dev import find_servers

    with find_servers(allow_embedded=True, announce=lambda _line: None) as servers:
        request.config.stash[_FOUND] = servers
        yield servers


@pytest.fixture(scope="session")
def rabbitmq_server(cifra_servers: Servers) -> FoundServer:
    """A RabbitMQ; its ``url``. Without one the test is skipped, or fails where ``CI=true``."""
    return _needed(cifra_servers.rabbitmq, "RabbitMQ", "RABBITMQ_URL")


@pytest.fixture(scope="session")
def redis_server(cifra_servers: Servers) -> FoundServer:
    """A Redis; its ``url``. Without one the test is skipped, or fails where ``CI=true``."""
    return _needed(cifra_servers.redis, "Redis", "REDIS_URL")


@pytest.fixture
def memory_broker() -> Iterator[MemoryTransport]:
    """A broker in this process, of this test alone."""
    from cifra_jobs.brokers.memory import MemoryTransport

    transport = MemoryTransport()
    yield transport
    transport.close()


@pytest.fixture
def idle_jobs_app() -> Iterator[App]:
    """This process's app on a broker and a store in memory, and no worker.

    What is sent stays in its queue, for `cifra_jobs.testing.assert_enqueued`. Tasks and lifespans
    that the test itself declares are forgotten with it.
    """
    from cifra_jobs.app import current_app
    from cifra_jobs.jobs.lifespan import registered

    app = current_app()
    actors, queues = dict(app.broker.actors), dict(app.broker.queues)
    lifespans = list(registered)
    app.configure(broker={"type": "memory"}, result_backend={"type": "memory"})
    try:
        yield app
    finally:
        app.close()
        for registry, before in ((app.broker.actors, actors), (app.broker.queues, queues)):
            registry.clear()
            registry.update(before)
        registered[:] = lifespans


@pytest.fixture
def jobs_app(idle_jobs_app: App) -> Iterator[App]:
    """`idle_jobs_app` with a worker that runs what is sent, in this process."""
    from cifra_jobs.runtime.worker import Worker

    worker = Worker(idle_jobs_app, name="test", concurrency=_CONCURRENCY)
    worker.start()
    try:
        yield idle_jobs_app
    finally:
        worker.stop(_GRACE_S)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which servers the run used, and their versions."""
    servers = terminalreporter.config.stash.get(_FOUND, None)
    if servers is None:
        return
    for server in (servers.rabbitmq, servers.redis):
        if server is not None:
            terminalreporter.write_line(f"used {server.describe()}")


def _needed(server: FoundServer | None, name: str, variable: str) -> FoundServer:
    if server is not None:
        return server
    reason = f"no {name} here: set {variable}, start Docker, or install it"
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason} (CI=true: a missing server is a failure)", pytrace=False)
    pytest.skip(reason)
