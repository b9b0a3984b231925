"""What a transport must do for those who consume."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, ClassVar

from cifra_jobs.testing.assertions import eventually
from cifra_jobs.testing.conformance.brokers.harness import (
    PATIENCE_S,
    Receiver,
    make,
    publish,
    publish_bodies,
)

if TYPE_CHECKING:
    from cifra_jobs.brokers.base import Delivery, Transport

__all__ = ["ConsumingCases"]


class ConsumingCases:
    """From the queue to ``on_deliveries``, and back by settlement."""

    #: Set to false for a make whose server puts requeued messages at the end.
    requeues_in_place: ClassVar[bool] = True
    #: Set to false for a make whose server knows no strict priorities.
    has_strict_priorities: ClassVar[bool] = True

    # In.

    def test_the_highest_priority_comes_first_and_equals_in_order(
        self, transport: Transport
    ) -> None:
        """9 before 0."""
        order = [0, 9, 3, 9, 5, 0]
        sent = [make("a", b"%d-%d" % (p, n), priority=p) for n, p in enumerate(order)]
        publish(transport, *sent)
        receiver = Receiver(transport, {"a": 1}, accept=True)
        receiver.wait_for(len(sent))
        came = receiver.bodies()
        if self.has_strict_priorities:
            assert came == [b"9-1", b"9-3", b"5-4", b"3-2", b"0-0", b"0-5"]
        assert sorted(came) == sorted(each.body for each in sent)
        assert came.index(b"9-1") < came.index(b"9-3")
        assert came.index(b"0-0") < came.index(b"0-5")

    def test_prefetch_bounds_what_is_unsettled(self, transport: Transport) -> None:
        """A slot frees with each settlement."""
        publish_bodies(transport, "a", [b"%d" % n for n in range(10)])
        receiver = Receiver(transport, {"a": 3})
        held = receiver.wait_for(3)
        eventually(lambda: transport.counts("a").ready == 7, PATIENCE_S)
        receiver.consumer.ack(held[:1])
        receiver.wait_for(4)
        eventually(lambda: transport.counts("a").ready == 6, PATIENCE_S)
        assert len(receiver.deliveries) == 4

    def test_one_consumer_takes_from_many_queues(self, transport: Transport) -> None:
        """Each with a prefetch of its own."""
        publish_bodies(transport, "a", [b"a"] * 5)
        publish_bodies(transport, "b", [b"b"] * 5)
        receiver = Receiver(transport, {"a": 1, "b": 2})
        receiver.wait_for(3)
        assert sorted(receiver.bodies()) == [b"a", b"b", b"b"]
        assert {delivery.queue for delivery in receiver.deliveries} == {"a", "b"}

    def test_consumers_share_a_queue(self, transport: Transport) -> None:
        """Nobody starves, nothing comes twice."""
        first, second = Receiver(transport, {"a": 5}), Receiver(transport, {"a": 5})
        eventually(lambda: transport.counts("a").consumers == 2, PATIENCE_S)
        publish_bodies(transport, "a", [b"%d" % n for n in range(10)])
        first.wait_for(5)
        second.wait_for(5)
        assert sorted(first.bodies() + second.bodies()) == [b"%d" % n for n in range(10)]

    def test_a_callback_that_raises_does_not_end_the_consumption(
        self, transport: Transport
    ) -> None:
        """The thread that delivers outlives bad code."""
        seen = threading.Semaphore(0)

        def fail(deliveries: list[Delivery]) -> None:
            for _ in deliveries:
                seen.release()
            raise RuntimeError("a bad callback, on purpose")

        transport.consume({"a": 10}, fail)
        for _ in range(2):
            publish(transport, make("a"))
            assert seen.acquire(timeout=PATIENCE_S)

    # Settlement.

    def test_what_is_acked_never_comes_back(self, transport: Transport) -> None:
        """Also when the consumer closes right after."""
        publish_bodies(transport, "a", [b"%d" % n for n in range(100)])
        receiver = Receiver(transport, {"a": 100})
        held = receiver.wait_for(100)
        receiver.consumer.ack(held[1::2])
        receiver.consumer.ack(held[::2])
        receiver.consumer.close(PATIENCE_S)
        eventually(lambda: transport.counts("a").consumers == 0, PATIENCE_S)
        assert transport.counts("a").ready == 0

    def test_what_is_unsettled_is_redelivered_when_the_consumer_closes(
        self, transport: Transport
    ) -> None:
        """Marked so, in its old order; what was acked is not among it."""
        publish_bodies(transport, "a", [b"%d" % n for n in range(5)])
        first = Receiver(transport, {"a": 5})
        held = first.wait_for(5)
        first.consumer.ack([held[1]])
        first.consumer.close(PATIENCE_S)
        second = Receiver(transport, {"a": 5})
        redelivered = second.wait_for(4)
        assert [delivery.body for delivery in redelivered] == [b"0", b"2", b"3", b"4"]
        assert all(delivery.is_redelivered for delivery in redelivered)

    def test_requeued_messages_go_back_to_their_place(self, transport: Transport) -> None:
        """In front of what came after them."""
        publish_bodies(transport, "a", [b"%d" % n for n in range(5)])
        first = Receiver(transport, {"a": 2})
        held = first.wait_for(2)
        first.consumer.cancel(PATIENCE_S)
        first.consumer.requeue(reversed(held))
        eventually(lambda: transport.counts("a").ready == 5, PATIENCE_S)
        second = Receiver(transport, {"a": 5})
        second.wait_for(5)
        again = [delivery.body for delivery in second.deliveries if delivery.is_redelivered]
        assert again == [b"0", b"1"]
        in_order = [b"%d" % n for n in range(5)]
        if self.requeues_in_place:
            assert second.bodies() == in_order
        else:
            assert sorted(second.bodies()) == in_order

    def test_a_settlement_after_the_close_is_dropped(self, transport: Transport) -> None:
        """Whoever has the message now is not robbed of it."""
        publish_bodies(transport, "a", [b"x"])
        first = Receiver(transport, {"a": 1})
        held = first.wait_for(1)
        first.consumer.close(PATIENCE_S)
        second = Receiver(transport, {"a": 1})
        again = second.wait_for(1)
        first.consumer.ack(held)
        first.consumer.requeue(held)
        second.consumer.requeue(again)
        assert second.wait_for(2)[1].body == b"x"

    def test_many_threads_settle_at_once(self, transport: Transport) -> None:
        """In any order, one by one and in runs."""
        publish_bodies(transport, "a", [b"%d" % n for n in range(1000)])
        receiver = Receiver(transport, {"a": 1000})
        held = receiver.wait_for(1000)
        with ThreadPoolExecutor(4) as pool:
            for start in range(4):
                part = held[start::4]
                pool.submit(receiver.consumer.ack, part[:50])
                pool.map(lambda delivery: receiver.consumer.ack([delivery]), part[50:])
        receiver.consumer.close(PATIENCE_S)
        assert transport.counts("a").ready == 0

    # Stopping and pausing.

    def test_cancel_ends_deliveries_and_leaves_what_was_delivered(
        self, transport: Transport
    ) -> None:
        """It can still be acked."""
        publish_bodies(transport, "a", [b"first"])
        receiver = Receiver(transport, {"a": 10})
        held = receiver.wait_for(1)
        receiver.consumer.cancel(PATIENCE_S)
        publish_bodies(transport, "a", [b"second"])
        eventually(lambda: transport.counts("a").ready == 1, PATIENCE_S)
        receiver.consumer.ack(held)
        receiver.consumer.close(PATIENCE_S)
        assert receiver.bodies() == [b"first"]
        assert transport.counts("a").ready == 1

    def test_one_queue_pauses_while_the_others_go_on(self, transport: Transport) -> None:
        """And takes up where it was."""
        receiver = Receiver(transport, {"a": 10, "b": 10}, accept=True)
        receiver.consumer.pause("a")
        eventually(lambda: transport.counts("a").consumers == 0, PATIENCE_S)
        publish_bodies(transport, "a", [b"a"])
        publish_bodies(transport, "b", [b"b"])
        receiver.wait_for(1)
        assert receiver.bodies() == [b"b"]
        receiver.consumer.resume("a")
        receiver.wait_for(2)
        assert receiver.bodies() == [b"b", b"a"]

    def test_what_was_delivered_before_a_pause_stays_ours(self, transport: Transport) -> None:
        """It can be acked while the queue is paused."""
        publish_bodies(transport, "a", [b"first"])
        receiver = Receiver(transport, {"a": 1})
        held = receiver.wait_for(1)
        receiver.consumer.pause("a")
        receiver.consumer.ack(held)
        eventually(lambda: transport.counts("a").consumers == 0, PATIENCE_S)
        publish_bodies(transport, "a", [b"second"])
        receiver.consumer.close(PATIENCE_S)
        assert receiver.bodies() == [b"first"]
        assert transport.counts("a").ready == 1

    def test_a_consumer_takes_more_of_a_queue_and_rests(self, transport: Transport) -> None:
        """An extension holds so many more; paused, it takes no more and keeps what it has."""
        publish_bodies(transport, "a", [b"1", b"2", b"3"])
        receiver = Receiver(transport, {"a": 1})
        receiver.wait_for(1)
        extension = receiver.consumer.extend({"a": 1})
        held = receiver.wait_for(2)
        assert transport.counts("a").ready == 1
        extension.pause()
        receiver.consumer.ack(held)
        receiver.wait_for(3)
        # Not earlier: a quorum queue counts a cancelled consumer until it has settled everything.
        eventually(lambda: transport.counts("a").consumers == 1, PATIENCE_S)
        extension.resume()
        eventually(lambda: transport.counts("a").consumers == 2, PATIENCE_S)

    def test_a_consumer_says_whether_it_is_connected(self, transport: Transport) -> None:
        """Soon after it was made, and no longer after its close."""
        receiver = Receiver(transport, {"a": 1, "b": 1})
        eventually(lambda: receiver.consumer.is_connected, PATIENCE_S)
        receiver.consumer.close(PATIENCE_S)
        assert not receiver.consumer.is_connected
