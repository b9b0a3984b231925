"""What a transport must do with what it is given to publish."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, ClassVar

import pytest

from cifra_jobs.clock import system_clock
from cifra_jobs.errors import UnknownQueue
from cifra_jobs.testing.conformance.brokers.harness import (
    PATIENCE_S,
    Receiver,
    make,
    publish,
    publish_bodies,
)

if TYPE_CHECKING:
    from cifra_jobs.brokers.base import Transport
    from cifra_jobs.errors import BrokerError

__all__ = ["PublishingCases"]


class PublishingCases:
    """From ``publish`` to the queue, delays and dead letters included."""

    #: Set to false for a make that maps priorities to what its server knows.
    keeps_priority: ClassVar[bool] = True

    # Out.

    def test_a_message_arrives_as_it_was_sent(self, transport: Transport) -> None:
        """Body, id, priority, headers and encoding come through unchanged."""
        sent = make(
            "a",
            bytes(range(256)),
            priority=7,
            headers={"word": "é", "count": 2**40},
            content_encoding="gzip",
            type_name="reports.build",
        )
        assert publish(transport, sent) == [None]
        (got,) = Receiver(transport, {"a": 10}).wait_for(1)
        assert (got.queue, got.body, got.message_id) == ("a", sent.body, sent.message_id)
        assert got.content_encoding == "gzip"
        assert got.priority == 7 or not self.keeps_priority
        assert {"word": "é", "count": 2**40}.items() <= got.headers.items()
        assert not got.is_redelivered

    def test_a_large_message_arrives_whole(self, transport: Transport) -> None:
        """Larger than a frame and than a socket's buffer."""
        body = bytes(range(256)) * 8192
        assert publish(transport, make("a", body)) == [None]
        (got,) = Receiver(transport, {"a": 1}).wait_for(1)
        assert got.body == body

    def test_confirms_come_on_another_thread(self, transport: Transport) -> None:
        """The caller never runs ``done`` itself."""
        threads: list[threading.Thread] = []
        finished = threading.Event()

        def done(_errors: list[BrokerError | None]) -> None:
            threads.append(threading.current_thread())
            finished.set()

        transport.publish([make("a")], done, timeout_s=5.0)
        assert finished.wait(PATIENCE_S)
        assert threads[0] is not threading.current_thread()

    def test_an_empty_batch_is_done(self, transport: Transport) -> None:
        """``done`` is called, with nothing in it."""
        assert publish(transport) == []

    def test_a_batch_keeps_its_order(self, transport: Transport) -> None:
        """More than any window of unconfirmed messages."""
        bodies = [b"%d" % n for n in range(2500)]
        publish_bodies(transport, "a", bodies)
        receiver = Receiver(transport, {"a": 100}, accept=True)
        receiver.wait_for(len(bodies))
        assert receiver.bodies() == bodies

    def test_an_unknown_queue_is_told_and_the_rest_of_the_batch_is_sent(
        self, transport: Transport
    ) -> None:
        """Nothing is dropped in silence, and the error stands at its own place."""
        first, second, third = publish(transport, make("a"), make("nowhere"), make("b"))
        assert first is None
        assert third is None
        assert isinstance(second, UnknownQueue)
        assert "nowhere" in str(second)
        assert (transport.counts("a").ready, transport.counts("b").ready) == (1, 1)

    def test_many_threads_publish_at_once(self, transport: Transport) -> None:
        """Every message arrives once."""
        bodies = [b"%d" % n for n in range(400)]
        with ThreadPoolExecutor(8) as pool:
            results = list(pool.map(lambda body: publish(transport, make("a", body)), bodies))
        assert results == [[None]] * len(bodies)
        receiver = Receiver(transport, {"a": 100}, accept=True)
        receiver.wait_for(len(bodies))
        assert sorted(receiver.bodies()) == sorted(bodies)

    # Delays and the dead.

    @pytest.mark.parametrize("is_roundable", [False, True])
    def test_a_delayed_message_comes_in_time_and_never_early(
        self, transport: Transport, is_roundable: bool
    ) -> None:
        """A shorter delay overtakes a longer one."""
        receiver = Receiver(transport, {"a": 10})
        start = system_clock.monotonic()
        moments: dict[bytes, float] = {}
        sent = [
            make("a", b"%d" % delay, delay_ms=delay, is_roundable=is_roundable)
            for delay in (1200, 300, 601)
        ]
        assert publish(transport, *sent) == [None] * 3
        for count in range(1, 4):
            last = receiver.wait_for(count)[count - 1]
            moments[last.body] = (system_clock.monotonic() - start) * 1000
        assert list(moments) == [b"300", b"601", b"1200"]
        assert all(int(body) <= moment < int(body) + 2000 for body, moment in moments.items())

    def test_a_delayed_message_keeps_what_it_carries(self, transport: Transport) -> None:
        """Id, priority, headers."""
        sent = make("b", b"later", delay_ms=50, priority=4, headers={"round": 3})
        publish(transport, sent)
        (got,) = Receiver(transport, {"b": 1}).wait_for(1)
        assert (got.queue, got.message_id) == ("b", sent.message_id)
        assert got.priority == 4 or not self.keeps_priority
        assert got.headers["round"] == 3
        assert not got.is_redelivered

    def test_the_dead_are_kept_apart(self, transport: Transport) -> None:
        """Counted and purged on their own, never delivered."""
        assert publish(transport, make("a", b"dead", is_dead=True), make("a", b"alive")) == [
            None,
            None,
        ]
        counts = transport.counts("a")
        assert (counts.ready, counts.dead) == (1, 1)
        assert transport.purge("a", dead=True) == 1
        counts = transport.counts("a")
        assert (counts.ready, counts.dead) == (1, 0)
        receiver = Receiver(transport, {"a": 10})
        receiver.wait_for(1)
        assert receiver.bodies() == [b"alive"]
