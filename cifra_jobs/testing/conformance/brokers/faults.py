"""What a transport must do when the network fails, and when it closes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cifra_jobs.errors import BrokerUnavailable
from cifra_jobs.testing.assertions import eventually
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
    from cifra_jobs.testing.conformance.brokers.harness import TransportHarness

__all__ = ["FaultCases"]


class FaultCases:
    """Lost connections and closed transports."""

    def test_a_lost_connection_redelivers_and_comes_back(
        self, harness: TransportHarness, transport: Transport
    ) -> None:
        """Old settlements are dropped: the message belongs to its new delivery."""
        publish_bodies(transport, "a", [b"x"])
        receiver = Receiver(transport, {"a": 1})
        held = receiver.wait_for(1)
        harness.cut()
        assert receiver.wait_for_loss() == ["a"]
        receiver.consumer.ack(held)
        again = receiver.wait_for(2)[1]
        assert (again.body, again.is_redelivered) == (b"x", True)
        eventually(lambda: receiver.consumer.is_connected, PATIENCE_S)
        receiver.consumer.ack([again])
        receiver.consumer.close(PATIENCE_S)
        assert transport.counts("a").ready == 0

    def test_a_paused_queue_stays_paused_over_a_lost_connection(
        self, harness: TransportHarness, transport: Transport
    ) -> None:
        """Coming back is not resuming."""
        receiver = Receiver(transport, {"a": 1, "b": 1}, accept=True)
        eventually(lambda: receiver.consumer.is_connected, PATIENCE_S)
        receiver.consumer.pause("a")
        eventually(lambda: transport.counts("a").consumers == 0, PATIENCE_S)
        harness.cut()
        receiver.wait_for_loss()
        eventually(lambda: transport.counts("b").consumers == 1, PATIENCE_S)
        publish_bodies(transport, "a", [b"a"])
        publish_bodies(transport, "b", [b"b"])
        receiver.wait_for(1)
        assert receiver.bodies() == [b"b"]
        receiver.consumer.resume("a")
        receiver.wait_for(2)

    def test_publishing_goes_on_after_a_lost_connection(
        self, harness: TransportHarness, transport: Transport
    ) -> None:
        """Confirmed after the return, within the time given."""
        publish_bodies(transport, "a", [b"before"])
        harness.cut()
        assert publish(transport, make("a", b"after"), timeout_s=PATIENCE_S) == [None]
        receiver = Receiver(transport, {"a": 10}, accept=True)
        receiver.wait_for(2)
        # A message whose confirm was lost may have been sent twice, never less than once.
        assert set(receiver.bodies()) == {b"before", b"after"}

    def test_a_closed_transport_refuses_with_a_sentence(self, harness: TransportHarness) -> None:
        """And closing twice is harmless."""
        transport = harness.open()
        transport.declare(["a"])
        transport.close(PATIENCE_S)
        transport.close(PATIENCE_S)
        # At the call or as the fate of the message: either way it is said.
        try:
            (error,) = publish(transport, make("a"), timeout_s=1.0)
        except BrokerUnavailable as raised:
            error = raised
        assert isinstance(error, BrokerUnavailable)
        assert "closed" in str(error)

    def test_close_waits_for_confirms_under_way(self, harness: TransportHarness) -> None:
        """What was handed in before the close is confirmed."""
        transport = harness.open()
        transport.declare(["a"])
        results: list[list[BrokerError | None]] = []
        batch = [make("a") for _ in range(500)]
        transport.publish(batch, results.append, timeout_s=PATIENCE_S)
        transport.close(PATIENCE_S)
        assert results == [[None] * 500]
