import uuid
from collections.abc import Iterator
from typing import Self
from urllib.parse import urlsplit

import pika
import pytest

from cifra_jobs.brokers.rabbitmq.topology import Names, QueueSpec, build, teardown
from cifra_jobs.brokers.rabbitmq.transport import RabbitmqTransport
from cifra_jobs.dev.discovery import FoundServer
from cifra_jobs.testing import TcpProxy
from cifra_jobs.testing.conformance.brokers import TransportConformance, TransportHarness

#: Every queue that the suite names.
QUEUES = ["a", "b", "fresh"]


class RabbitmqHarness(TransportHarness):
    """A namespace of its own, reached through a proxy that can be cut."""

    def __init__(self, url: str, namespace: str, spec: QueueSpec) -> None:
        at = urlsplit(url)
        self._proxy = TcpProxy(at.hostname or "localhost", at.port or 5672)
        login = at.netloc.rpartition("@")[0]
        host = f"{self._proxy.host}:{self._proxy.port}"
        self._url = at._replace(netloc=f"{login}@{host}" if login else host).geturl()
        self._namespace = namespace
        self._queues = dict.fromkeys(QUEUES, spec)
        self._transports: list[RabbitmqTransport] = []

    def open(self) -> RabbitmqTransport:
        transport = RabbitmqTransport(self._url, namespace=self._namespace, queues=self._queues)
        self._transports.append(transport)
        return transport

    def cut(self) -> None:
        self._proxy.cut()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for transport in self._transports:
            transport.close()
        self._proxy.close()


@pytest.fixture(scope="module")
def namespace(rabbitmq_server: FoundServer) -> Iterator[str]:
    """One for all: its delays take the most time to declare. The queues are new in each test."""
    name = f"conformance-{uuid.uuid4().hex[:8]}"
    yield name
    with pika.BlockingConnection(pika.URLParameters(rabbitmq_server.url)) as connection:
        teardown(connection.channel(), build(name, dict.fromkeys(QUEUES, QueueSpec())))


class TestClassicQueues(TransportConformance):
    spec = QueueSpec()

    @pytest.fixture
    def harness(self, rabbitmq_server: FoundServer, namespace: str) -> Iterator[TransportHarness]:
        with RabbitmqHarness(rabbitmq_server.url, namespace, self.spec) as harness:
            yield harness
        with pika.BlockingConnection(pika.URLParameters(rabbitmq_server.url)) as connection:
            channel = connection.channel()
            for queue in QUEUES:
                channel.queue_delete(Names(namespace).queue(queue))
                channel.queue_delete(Names(namespace).dead(queue))


class TestQuorumQueues(TestClassicQueues):
    spec = QueueSpec(type="quorum")
    # RabbitMQ 3.x ignores priorities here, 4.0 knows two, 4.3 all.
    has_strict_priorities = keeps_priority = False
    requeues_in_place = False
