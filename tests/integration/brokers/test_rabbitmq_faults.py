import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pika
import pytest

from cifra_jobs.brokers.base import Delivery
from cifra_jobs.brokers.rabbitmq.consumer import RabbitmqConsumer
from cifra_jobs.brokers.rabbitmq.transport import RabbitmqTransport
from cifra_jobs.brokers.rabbitmq.wire import settle_frame
from cifra_jobs.dev.rabbitmq import PrivateRabbitmq
from cifra_jobs.errors import BrokerError, BrokerUnavailable, UnknownQueue
from cifra_jobs.testing import TcpProxy, eventually
from cifra_jobs.testing.conformance.brokers.harness import (
    Receiver,
    make,
    publish,
    publish_bodies,
)

BODIES = [str(number).encode() for number in range(8)]


def cut_all(node: PrivateRabbitmq) -> None:
    node.rabbitmqctl("close_all_connections", "a test")


def delete_queue(node: PrivateRabbitmq, name: str) -> None:
    with pika.BlockingConnection(pika.URLParameters(node.url)) as connection:
        connection.channel().queue_delete(name)


def test_old_acks_touch_no_message_of_the_new_channel(
    node: PrivateRabbitmq, transport: RabbitmqTransport, queue: str
) -> None:
    publish_bodies(transport, queue, BODIES)
    receiver = Receiver(transport, {queue: 8})
    old = receiver.wait_for(8)
    cut_all(node)
    new = receiver.wait_for(16)[8:]
    assert sorted(each.body for each in new) == BODIES
    receiver.consumer.ack(old)
    receiver.consumer.ack(new[:3])
    receiver.consumer.close(5)
    eventually(lambda: transport.counts(queue).ready == 5)


def test_a_channel_closed_by_the_broker_is_replaced(
    transport: RabbitmqTransport, queue: str
) -> None:
    publish_bodies(transport, queue, BODIES)
    receiver = Receiver(transport, {queue: 8})
    first = receiver.wait_for(8)
    consumer = receiver.consumer
    assert isinstance(consumer, RabbitmqConsumer)
    # A tag that was never given out: 406.
    unknown = settle_frame(first[0].origin.number, 999, is_ack=True, is_multiple=False)
    consumer.connection.call(lambda: consumer.connection.write(unknown))
    again = receiver.wait_for(16)[8:]
    assert receiver.lost == [queue]
    consumer.ack(again)
    eventually(lambda: transport.counts(queue).ready == 0 and consumer.is_connected)


def test_a_queue_deleted_under_its_consumer_is_declared_and_consumed_again(
    node: PrivateRabbitmq, transport: RabbitmqTransport, queue: str
) -> None:
    receiver = Receiver(transport, {queue: 8}, accept=True)
    eventually(lambda: receiver.consumer.is_connected)
    delete_queue(node, f"faults.q.{queue}")
    assert receiver.wait_for_loss() == [queue]
    eventually(lambda: receiver.consumer.is_connected, 10)
    publish_bodies(transport, queue, [b"x"])
    receiver.wait_for(1)


def test_a_queue_deleted_under_its_sender_is_declared_again(
    node: PrivateRabbitmq, transport: RabbitmqTransport, queue: str
) -> None:
    publish_bodies(transport, queue, [b"x"])
    delete_queue(node, f"faults.q.{queue}")
    publish_bodies(transport, queue, BODIES)
    assert transport.counts(queue).ready == 8


def test_nothing_confirmed_is_lost_when_the_connection_is_cut_while_publishing(
    node: PrivateRabbitmq,
    open_transport: Callable[..., RabbitmqTransport],
    queue: str,
) -> None:
    with TcpProxy("127.0.0.1", node.port) as proxy:
        url = node.url.replace(f":{node.port}/", f":{proxy.port}/")
        transport = open_transport(url)
        transport.declare([queue])
        seen: set[bytes] = set()

        def on_deliveries(deliveries: list[Delivery]) -> None:
            seen.update(each.body for each in deliveries)
            consumer.ack(deliveries)

        consumer = open_transport(node.url).consume({queue: 500}, on_deliveries)
        bodies = {str(number).encode() for number in range(20_000)}
        results: list[list[BrokerError | None]] = []
        transport.publish([make(queue, body) for body in bodies], results.append, timeout_s=30)
        for part in range(1, 4):
            count = part * 3_000
            eventually(lambda: len(seen) > count, 20)  # noqa: B023 - waited for here and now
            proxy.cut()
        eventually(lambda: bool(results), 30)
        assert results == [[None] * len(bodies)]
        eventually(lambda: seen == bodies, 20)


def test_a_silent_broker_ends_a_publish_within_its_time(
    node: PrivateRabbitmq,
    open_transport: Callable[..., RabbitmqTransport],
    queue: str,
) -> None:
    with TcpProxy("127.0.0.1", node.port) as proxy:
        transport = open_transport(node.url.replace(f":{node.port}/", f":{proxy.port}/"))
        transport.declare([queue])
        publish_bodies(transport, queue, [b"x"])
        proxy.stall()
        (error,) = publish(transport, make(queue), timeout_s=0.5)
        assert isinstance(error, BrokerUnavailable)
        assert "no confirm came" in str(error)
        proxy.flow()
        publish_bodies(transport, queue, [b"y"])


def test_without_a_broker_a_publish_ends_within_its_time_and_says_why(
    open_transport: Callable[..., RabbitmqTransport],
) -> None:
    with TcpProxy("127.0.0.1", 1) as nowhere:
        port = nowhere.port
    transport = open_transport(f"amqp://guest:secret@127.0.0.1:{port}/")
    (error,) = publish(transport, make("any"), timeout_s=0.5)
    assert isinstance(error, BrokerUnavailable)
    assert "Connection refused" in str(error)
    assert "secret" not in str(error)


def test_during_a_memory_alarm_sends_fail_and_workers_go_on(
    node: PrivateRabbitmq, transport: RabbitmqTransport, queue: str
) -> None:
    publish_bodies(transport, queue, BODIES)
    receiver = Receiver(transport, {queue: 4})
    receiver.wait_for(4)
    node.rabbitmqctl("set_vm_memory_high_watermark", "0.00001")
    try:
        (error,) = publish(transport, make(queue, b"blocked"), timeout_s=1.0)
        assert isinstance(error, BrokerUnavailable)
        assert "short of memory or disk" in str(error)
        receiver.consumer.ack(receiver.wait_for(4))
        receiver.consumer.ack(receiver.wait_for(8)[4:])
        assert transport.counts(queue).consumers == 1
    finally:
        node.rabbitmqctl("set_vm_memory_high_watermark", "0.4")
    publish_bodies(transport, queue, [b"after"])
    eventually(lambda: b"after" in receiver.bodies())


def test_a_full_queue_refuses_until_there_is_room_and_stops_no_other(
    node: PrivateRabbitmq, transport: RabbitmqTransport, queue: str
) -> None:
    policy = '{"max-length": 1, "overflow": "reject-publish"}'
    other = f"{queue}-other"
    transport.declare([other])
    node.rabbitmqctl("set_policy", queue, f"^faults\\.q\\.{queue}$", policy)
    try:
        publish_bodies(transport, queue, [b"fits"])
        waiting: list[list[BrokerError | None]] = []
        transport.publish([make(queue, b"waits")], waiting.append, timeout_s=30)
        publish_bodies(transport, other, BODIES)
        (error,) = publish(transport, make(queue, b"too late"), timeout_s=0.5)
        assert isinstance(error, BrokerUnavailable)
        assert waiting == []
        Receiver(transport, {queue: 1}, accept=True).wait_for(2)
        eventually(lambda: waiting == [[None]])
    finally:
        node.rabbitmqctl("clear_policy", queue)
        transport.purge(other)


def test_a_message_that_the_broker_will_not_have_fails_alone(
    transport: RabbitmqTransport, queue: str
) -> None:
    batch = [make(queue, b"small") for _ in range(20)]
    batch.insert(7, make(queue, b"x" * 300_000))
    errors = publish(transport, *batch, timeout_s=20)
    assert [index for index, error in enumerate(errors) if error] == [7]
    assert "larger than configured max size" in str(errors[7])
    assert transport.counts(queue).ready >= 20


def test_a_delayed_message_whose_queue_has_gone_is_parked(
    node: PrivateRabbitmq, transport: RabbitmqTransport, queue: str
) -> None:
    assert publish(transport, make(queue, b"orphan", delay_ms=300)) == [None]
    delete_queue(node, f"faults.q.{queue}")

    def parked() -> object:
        with pika.BlockingConnection(pika.URLParameters(node.url)) as connection:
            return connection.channel().basic_get("faults.dead._unrouted", auto_ack=True)[2]

    assert eventually(parked, 10) == b"orphan"


def test_a_delay_for_a_queue_that_nobody_declared_is_refused_at_once(
    transport: RabbitmqTransport, queue: str
) -> None:
    errors = publish(transport, make(queue, delay_ms=60_000), make("nobody", delay_ms=60_000))
    assert errors[0] is None
    assert isinstance(errors[1], UnknownQueue)
    assert f"queues known to this process: {queue}" in str(errors[1])


def test_a_message_of_strangers_is_delivered_whatever_its_headers(
    node: PrivateRabbitmq, transport: RabbitmqTransport, queue: str
) -> None:
    receiver = Receiver(transport, {queue: 8}, accept=True)
    with pika.BlockingConnection(pika.URLParameters(node.url)) as connection:
        channel = connection.channel()
        headers = {"a": [1, {"b": None}], "big": 2**60, "bytes": b"\xff\xfe"}
        strange = pika.BasicProperties(headers=headers, priority=200)
        channel.basic_publish("faults.task", queue, b"strange", strange)
        channel.basic_publish("faults.task", queue, b"plain")
    first, second = receiver.wait_for(2)
    assert (first.body, second.body) == (b"strange", b"plain")
    assert first.headers["a"] == [1, {"b": None}]
    assert first.priority == 9
    assert (second.headers, second.message_id, second.priority) == ({}, None, 0)


def test_a_forked_child_publishes_on_a_connection_of_its_own(
    node: PrivateRabbitmq, transport: RabbitmqTransport, queue: str
) -> None:
    # In a process of its own: this one has threads that a fork would lose.
    script = Path(__file__).with_name("forking.py")
    done = subprocess.run(
        [sys.executable, str(script), node.url, queue],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    receiver = Receiver(transport, {queue: 8}, accept=True)
    receiver.wait_for(4)
    assert sorted(receiver.bodies()) == [b"child", b"grandparent", b"parent", b"parent again"]


def test_a_person_finds_process_and_purpose_in_the_list_of_connections(
    node: PrivateRabbitmq, open_transport: Callable[..., RabbitmqTransport], queue: str
) -> None:
    transport = open_transport(name="cifra worker default")
    transport.declare([queue])
    Receiver(transport, {queue: 1})

    def list_ours() -> list[str]:
        text = node.rabbitmqctl("list_connections", "client_properties")
        found = [line for line in text.splitlines() if "cifra worker default" in line]
        return found if len(found) == 2 else []

    listed = "".join(eventually(list_ours, 20))
    assert f"cifra worker default publishing {os.getpid()}@" in listed
    assert f"cifra worker default consuming {os.getpid()}@" in listed


def test_messages_large_and_small_travel_over_tls(
    open_transport: Callable[..., RabbitmqTransport], queue: str, tls_url: str
) -> None:
    transport = open_transport(tls_url)
    transport.declare([queue])
    bodies = [b"%d" % number * (1 + number * 13 % 9000) for number in range(2_000)]
    receiver = Receiver(transport, {queue: 100}, accept=True)
    publish_bodies(transport, queue, bodies)
    receiver.wait_for(len(bodies))
    assert receiver.bodies() == bodies


def test_a_certificate_of_strangers_is_refused(
    open_transport: Callable[..., RabbitmqTransport], tls_url: str
) -> None:
    transport = open_transport(tls_url.partition("?")[0])
    (error,) = publish(transport, make("any"), timeout_s=2)
    assert "CERTIFICATE_VERIFY_FAILED" in str(error)


def test_a_callback_that_raises_does_not_stop_the_publisher(
    transport: RabbitmqTransport, queue: str
) -> None:
    def fail(_: object) -> None:
        raise RuntimeError("the application's own mistake")

    transport.publish([make(queue)], fail, timeout_s=5)
    publish_bodies(transport, queue, [b"after"])


@pytest.mark.parametrize("url", ["amqp://guest:wrong@127.0.0.1:{port}/"])
def test_a_wrong_password_is_said(
    node: PrivateRabbitmq, open_transport: Callable[..., RabbitmqTransport], url: str
) -> None:
    transport = open_transport(url.format(port=node.port))
    (error,) = publish(transport, make("any"), timeout_s=3)
    assert "ACCESS_REFUSED" in str(error)
