"""The fixtures that Dramatiq's tests ask for, by the names of its own conftest.

Copied beside the tests as their conftest by tools/peer_suite.py.
"""

from __future__ import annotations

import logging
import os
import shlex
import uuid
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import dramatiq
import dramatiq.brokers.rabbitmq
import dramatiq.worker
import pika
import pytest
from dramatiq.rate_limits import backends as limiter_backends
from dramatiq.results import backends as result_backends

from cifra_jobs.app import current_app
from cifra_jobs.brokers.memory import MemoryTransport
from cifra_jobs.brokers.rabbitmq.topology import Names, build, teardown
from cifra_jobs.config import Settings
from cifra_jobs.testing import TcpProxy
from cifra_jobs.wiring import open_transport

# The package's name is that of the folder they are copied to.
from .adapter import PeerBroker, PeerRabbitmqBroker, PeerWorker  # noqa: TID252
from .counted import Counted  # noqa: TID252

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cifra_jobs.dev.discovery import FoundServer

#: What both brokers get beside their addresses: unknown actors are dead letters at once.
_SETTINGS: dict[str, Any] = {
    "result_backend": {"type": "memory"},
    "unknown_task_grace": 0,
}


class _NotOurs:
    """In the place of Dramatiq's own broker, so that no test passes without ours."""

    def __init__(self, *_: Any, **__: Any) -> None:
        raise TypeError("this suite is about our broker: the fixture rabbitmq_broker")


# Before the tests import them.
dramatiq.Worker = dramatiq.worker.Worker = PeerWorker  # type: ignore[misc,assignment]
dramatiq.brokers.rabbitmq.RabbitmqBroker = _NotOurs  # type: ignore[misc,assignment]


@pytest.fixture(autouse=True)
def _info_logging() -> None:
    logging.getLogger().setLevel(logging.INFO)


def _unique() -> str:
    return f"peer-{uuid.uuid4().hex[:8]}"


def _installed(broker: PeerBroker) -> Iterator[PeerBroker]:
    before = current_app()
    broker.app.install()
    dramatiq.set_broker(broker)
    yield broker
    broker.app.close()
    broker.transport.inner.close()
    before.install()


@pytest.fixture
def stub_broker() -> Iterator[PeerBroker]:
    """Our broker, in memory."""
    settings = Settings(broker={"type": "memory"}, **_SETTINGS)
    yield from _installed(PeerBroker.over(Counted(MemoryTransport()), settings))


@pytest.fixture
def stub_worker(stub_broker: PeerBroker) -> Iterator[PeerWorker]:
    """Our worker on the broker in memory."""
    worker = PeerWorker(stub_broker, worker_timeout=100, worker_threads=32)
    worker.start()
    yield worker
    worker.stop()


@pytest.fixture(scope="session")
def _namespace(rabbitmq_server: FoundServer) -> Iterator[str]:
    name = _unique()
    yield name
    with pika.BlockingConnection(pika.URLParameters(rabbitmq_server.url)) as connection:
        teardown(connection.channel(), build(name, {}))


@pytest.fixture
def rabbitmq_broker(
    rabbitmq_server: FoundServer, _namespace: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[PeerBroker]:
    """Our broker, over RabbitMQ and a proxy that can be cut."""
    at = urlsplit(rabbitmq_server.url)
    with TcpProxy(at.hostname or "localhost", at.port or 5672) as proxy:
        login = at.netloc.rpartition("@")[0]
        netloc = f"{login}@{proxy.host}:{proxy.port}"
        settings = Settings(
            broker={"type": "rabbitmq", "url": at._replace(netloc=netloc).geturl()},
            namespace=_namespace,
            **_SETTINGS,
        )
        transport = Counted(open_transport(settings, "peer"))
        broker = PeerRabbitmqBroker.over(transport, settings)
        assert isinstance(broker, PeerRabbitmqBroker)
        broker.proxy, broker.url, broker.names = proxy, rabbitmq_server.url, Names(_namespace)
        monkeypatch.setattr(os, "system", lambda line: _on_private_node(rabbitmq_server, line))
        yield from _installed(broker)
        del broker.channel
        with pika.BlockingConnection(pika.URLParameters(rabbitmq_server.url)) as connection:
            channel = connection.channel()
            for queue in broker.queues:
                channel.queue_delete(broker.names.queue(queue))
                channel.queue_delete(broker.names.dead(queue))


@pytest.fixture
def rabbitmq_worker(rabbitmq_broker: PeerBroker) -> Iterator[PeerWorker]:
    """Our worker over RabbitMQ."""
    worker = PeerWorker(rabbitmq_broker, worker_threads=32)
    worker.start()
    yield worker
    worker.stop()


def _on_private_node(server: FoundServer, line: str) -> int:
    """A test stops "the" RabbitMQ by a shell command: only ever our private one."""
    program, *arguments = shlex.split(line)
    assert program == "rabbitmqctl"
    if server.private is None:
        pytest.fail("RabbitMQ is not a private child here, and is not ours to stop")
    server.private.rabbitmqctl(*arguments)  # type: ignore[union-attr]
    return 0


@pytest.fixture
def redis_result_backend(redis_server: FoundServer) -> Iterator[Any]:
    """Dramatiq's results in Redis."""
    # The Redis may be somebody's: a namespace of our own, and keys that expire by themselves.
    backend = result_backends.RedisBackend(url=redis_server.url, namespace=_unique())
    yield backend
    backend.client.close()


@pytest.fixture
def stub_result_backend() -> Any:
    """Dramatiq's results in memory."""
    return result_backends.StubBackend()


@pytest.fixture(params=["redis", "stub"])
def result_backend(request: pytest.FixtureRequest) -> Any:
    """Each of Dramatiq's backends of results that can be had here."""
    return request.getfixturevalue(f"{request.param}_result_backend")


@pytest.fixture(params=["redis", "stub"])
def rate_limiter_backend(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Each of Dramatiq's backends of barriers that can be had here."""
    if request.param == "stub":
        yield limiter_backends.StubBackend()
        return
    server = request.getfixturevalue("redis_server")
    # Its keys are the random ids of groups, and expire by themselves.
    backend = limiter_backends.RedisBackend(url=server.url)
    yield backend
    backend.client.close()
