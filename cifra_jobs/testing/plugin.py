"""The pytest plugin: servers for a session, a memory broker, an app with a worker.

Installed with cifra_jobs and loaded by pytest on its own. Imports are inside the fixtures, so that
a test run that uses none of them pays nothing.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cifra_jobs.brokers.memory import MemoryTransport
    from cifra_jobs.dev.discovery import FoundServer, Servers

__all__ = ["cifra_servers", "memory_broker", "rabbitmq_server", "redis_server"]

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
