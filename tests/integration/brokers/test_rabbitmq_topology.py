from collections.abc import Callable, Iterator

import pika
import pytest

from cifra_jobs.brokers.rabbitmq.topology import QueueSpec
from cifra_jobs.brokers.rabbitmq.transport import RabbitmqTransport
from cifra_jobs.dev.rabbitmq import PrivateRabbitmq
from cifra_jobs.errors import BrokerError, TopologyMismatch, UnknownQueue
from cifra_jobs.testing.conformance.brokers.harness import Receiver, make, publish, publish_bodies


@pytest.fixture(scope="module")
def producer_url(node: PrivateRabbitmq) -> Iterator[str]:
    """A user that may send and look, and may not configure."""
    node.rabbitmqctl("add_user", "producer", "secret")
    node.rabbitmqctl("set_permissions", "producer", "^$", r"^faults\.(task|delay\.\d\d)$", "^$")
    yield node.url.replace("guest:guest", "producer:secret")
    node.rabbitmqctl("delete_user", "producer")


def test_a_queue_that_exists_with_other_arguments_is_named(
    open_transport: Callable[..., RabbitmqTransport], transport: RabbitmqTransport, queue: str
) -> None:
    other = open_transport(queues={queue: QueueSpec(priorities=3)})
    with pytest.raises(TopologyMismatch, match=rf"x-max-priority.*faults\.q\.{queue}"):
        other.declare([queue])
    assert len(other.verify([queue])) == 1
    assert transport.verify([queue]) == []


def test_an_exchange_of_the_delays_that_was_deleted_is_noticed_and_repaired(
    node: PrivateRabbitmq,
    open_transport: Callable[..., RabbitmqTransport],
    transport: RabbitmqTransport,
    queue: str,
) -> None:
    with pika.BlockingConnection(pika.URLParameters(node.url)) as connection:
        connection.channel().exchange_delete("faults.delay.05")
    assert [line for line in transport.verify([queue]) if "faults.delay.05" in line]
    open_transport().declare([queue])
    receiver = Receiver(transport, {queue: 1}, accept=True)
    assert publish(transport, make(queue, b"held", delay_ms=50)) == [None]
    receiver.wait_for(1)


def test_a_user_without_configure_rights_looks_and_sends(
    open_transport: Callable[..., RabbitmqTransport],
    transport: RabbitmqTransport,
    queue: str,
    producer_url: str,
) -> None:
    sender = open_transport(producer_url, topology="verify")
    sender.declare([queue])
    publish_bodies(sender, queue, [b"x"])
    assert sender.verify([queue]) == []
    assert transport.counts(queue).ready == 1


def test_a_user_without_configure_rights_is_told_what_is_missing(
    open_transport: Callable[..., RabbitmqTransport],
    transport: RabbitmqTransport,
    producer_url: str,
) -> None:
    sender = open_transport(producer_url, topology="verify")
    with pytest.raises(TopologyMismatch, match=r"missing: .*faults\.dead\.absent.*faults\.q\.ab"):
        sender.declare(["absent"])
    assert isinstance(publish(sender, make("absent"))[0], UnknownQueue)


def test_declaring_without_the_right_says_what_to_do(
    open_transport: Callable[..., RabbitmqTransport],
    transport: RabbitmqTransport,
    producer_url: str,
) -> None:
    sender = open_transport(producer_url)
    with pytest.raises(BrokerError, match="topology: verify"):
        sender.declare(["absent"])


def test_quorum_queues_carry_delays_priorities_and_their_dead(
    open_transport: Callable[..., RabbitmqTransport], queue: str
) -> None:
    transport = open_transport(queues={queue: QueueSpec(type="quorum")})
    transport.declare([queue])
    assert transport.verify([queue]) == []
    receiver = Receiver(transport, {queue: 4}, accept=True)
    errors = publish(
        transport,
        make(queue, b"now", priority=9),
        make(queue, b"later", delay_ms=20),
        make(queue, b"dead", is_dead=True),
    )
    assert errors == [None, None, None]
    receiver.wait_for(2)
    assert receiver.bodies() == [b"now", b"later"]
    assert [each.body for each in transport.dead_letters(queue).browse()] == [b"dead"]
