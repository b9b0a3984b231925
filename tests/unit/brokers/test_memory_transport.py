"""What only the in-memory broker can do; the rest is in the conformance suite."""

import os
import threading
from dataclasses import dataclass
from queue import Queue

import pytest

from cifra_jobs.brokers.base import Delivery
from cifra_jobs.brokers.memory import MemoryTransport
from cifra_jobs.errors import BrokerError, BrokerUnavailable, TopologyMismatch, UnknownQueue
from cifra_jobs.testing import FakeClock
from cifra_jobs.testing.conformance.brokers.harness import Receiver, make, publish


@pytest.fixture
def broker(memory_broker: MemoryTransport) -> MemoryTransport:
    memory_broker.declare(["a"])
    return memory_broker


def test_a_jump_of_the_clock_releases_delayed_messages() -> None:
    clock = FakeClock()
    broker = MemoryTransport(clock=clock)
    receiver = Receiver(broker, {"a": 10})
    publish(broker, make("a", b"hour", delay_ms=3_600_000), make("a", b"day", delay_ms=86_400_000))
    assert broker.delayed_count("a") == 2
    clock.jump(3_600)
    receiver.wait_for(1)
    assert receiver.bodies() == [b"hour"]
    clock.jump(90_000)
    receiver.wait_for(2)
    assert broker.delayed_count("a") == 0
    broker.close()


def test_a_broken_connection_refuses_questions_and_holds_publications(
    broker: MemoryTransport,
) -> None:
    broker.break_connection()
    with pytest.raises(BrokerUnavailable):
        broker.counts("a")
    (error,) = publish(broker, make("a"), timeout_s=0.05)
    assert isinstance(error, BrokerUnavailable)
    broker.mend_connection()
    assert broker.counts("a").ready == 0


def test_a_publication_made_while_the_connection_is_broken_goes_out_when_it_is_mended(
    broker: MemoryTransport,
) -> None:
    broker.break_connection()
    results: Queue[list[BrokerError | None]] = Queue()
    broker.publish([make("a")], results.put, timeout_s=30)
    assert results.empty()
    broker.mend_connection()
    assert results.get(timeout=5) == [None]
    assert broker.counts("a").ready == 1


def test_a_lost_confirm_leaves_the_message_in_the_queue(broker: MemoryTransport) -> None:
    broker.lose_confirms()
    (error,) = publish(broker, make("a"), timeout_s=0.05)
    assert isinstance(error, BrokerUnavailable)
    assert broker.counts("a").ready == 1
    assert publish(broker, make("a")) == [None]


def test_nothing_is_delivered_while_the_connection_is_broken(broker: MemoryTransport) -> None:
    receiver = Receiver(broker, {"a": 1})
    publish(broker, make("a", b"x"))
    receiver.wait_for(1)
    broker.break_connection()
    assert receiver.wait_for_loss() == ["a"]
    assert not receiver.consumer.is_connected
    assert len(receiver.bodies()) == 1
    broker.mend_connection()
    assert receiver.wait_for(2)[1].is_redelivered


def test_waiting_for_idle_counts_delayed_and_unsettled_messages(broker: MemoryTransport) -> None:
    publish(broker, make("a", delay_ms=30))
    assert not broker.wait_until_idle("a", 0.001)
    receiver = Receiver(broker, {"a": 1})
    held = receiver.wait_for(1)
    assert not broker.wait_until_idle("a", 0.001)
    receiver.consumer.ack(held)
    assert broker.wait_until_idle("a", 5)


def test_clear_drops_ready_delayed_and_dead(broker: MemoryTransport) -> None:
    publish(broker, make("a"), make("a", delay_ms=60_000), make("a", is_dead=True))
    broker.clear()
    counts = broker.counts("a")
    assert (counts.ready, counts.dead, broker.delayed_count("a")) == (0, 0, 0)


def test_under_verify_only_the_configured_queues_exist() -> None:
    @dataclass
    class Settings:
        priorities: int = 9

    broker = MemoryTransport(queues={"a": Settings()}, topology="verify")
    broker.declare(["a"])
    with pytest.raises(TopologyMismatch, match="b"):
        broker.declare(["a", "b"])
    with pytest.raises(TopologyMismatch, match="b"):
        broker.consume({"b": 1}, lambda _deliveries: None)
    broker.close()


def test_a_queue_of_fewer_levels_still_tells_the_urgent_from_the_rest() -> None:
    @dataclass
    class Settings:
        priorities: int

    broker = MemoryTransport(queues={"one": Settings(1), "none": Settings(0)})
    for queue in ("one", "none"):
        publish(broker, *(make(queue, b"%d" % p, priority=p) for p in (0, 5, 9)))
    one, none = Receiver(broker, {"one": 10}), Receiver(broker, {"none": 10})
    one.wait_for(3)
    none.wait_for(3)
    assert one.bodies() == [b"5", b"9", b"0"]
    assert none.bodies() == [b"0", b"5", b"9"]
    broker.close()


def test_an_unknown_queue_is_answered_with_those_that_exist(broker: MemoryTransport) -> None:
    (error,) = publish(broker, make("b"))
    assert isinstance(error, UnknownQueue)
    assert "'b'" in str(error)
    assert "a" in error.message.split(":")[1]


def test_a_consumer_may_publish_and_wait_for_the_confirm(broker: MemoryTransport) -> None:
    broker.declare(["b"])
    finished = threading.Event()

    def forward(_deliveries: list[Delivery]) -> None:
        assert publish(broker, make("b")) == [None]
        finished.set()

    broker.consume({"a": 1}, forward)
    publish(broker, make("a"))
    assert finished.wait(5)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_child_is_refused_with_a_sentence(broker: MemoryTransport) -> None:
    publish(broker, make("a"))
    pid = os.fork()
    if pid == 0:
        errors: list[BrokerError | None] = []
        broker.publish([make("a")], errors.extend, timeout_s=1)
        os._exit(0 if isinstance(errors[0], BrokerUnavailable) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_closing_leaves_no_thread_behind() -> None:
    before = set(threading.enumerate())
    broker = MemoryTransport()
    receiver = Receiver(broker, {"a": 1})
    publish(broker, make("a"), make("a", delay_ms=60_000))
    receiver.wait_for(1)
    broker.close()
    assert set(threading.enumerate()) <= before
