import uuid
from collections.abc import Callable, Iterator

import pika
import pytest

from cifra_jobs.brokers.rabbitmq.topology import QueueSpec, build, teardown
from cifra_jobs.brokers.rabbitmq.transport import RabbitmqTransport
from cifra_jobs.dev.rabbitmq import PrivateRabbitmq, rabbitmq_scripts

#: One namespace for all tests: its delays are declared once.
NAMESPACE = "faults"

#: A message above it makes the broker close the channel.
MAX_MESSAGE_BYTES = 200_000


@pytest.fixture(scope="session")
def node() -> Iterator[PrivateRabbitmq]:
    """A broker that may be hurt."""
    if rabbitmq_scripts() is None:
        pytest.skip("no RabbitMQ is installed here")
    with PrivateRabbitmq(config={"max_message_size": str(MAX_MESSAGE_BYTES)}, plugins=()) as node:
        yield node


@pytest.fixture
def queue(node: PrivateRabbitmq) -> Iterator[str]:
    """The name of a queue that no other test uses; deleted afterwards."""
    name = f"q{uuid.uuid4().hex[:8]}"
    yield name
    with pika.BlockingConnection(pika.URLParameters(node.url)) as connection:
        topology = build(NAMESPACE, {name: QueueSpec()})
        mine = tuple(each for each in topology.queues if each.name.endswith(name))
        teardown(connection.channel(), type(topology)(queues=mine))


@pytest.fixture
def open_transport(node: PrivateRabbitmq) -> Iterator[Callable[..., RabbitmqTransport]]:
    """Opens transports, and closes them afterwards."""
    opened: list[RabbitmqTransport] = []

    def open_one(url: str = node.url, **options: object) -> RabbitmqTransport:
        transport = RabbitmqTransport(url, namespace=NAMESPACE, **options)  # type: ignore[arg-type]
        opened.append(transport)
        return transport

    yield open_one
    for transport in opened:
        transport.close()


@pytest.fixture
def transport(open_transport: Callable[..., RabbitmqTransport], queue: str) -> RabbitmqTransport:
    """A transport that has declared the test's queue."""
    transport = open_transport()
    transport.declare([queue])
    return transport
