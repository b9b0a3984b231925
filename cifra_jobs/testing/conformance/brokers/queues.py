"""What a transport must know of its queues."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cifra_jobs.errors import UnknownQueue
from cifra_jobs.testing.assertions import eventually
from cifra_jobs.testing.conformance.brokers.harness import PATIENCE_S, Receiver, publish_bodies

if TYPE_CHECKING:
    from cifra_jobs.brokers.base import Transport

__all__ = ["QueueCases"]


class QueueCases:
    """Declaring, verifying, counting, purging."""

    def test_declaring_again_changes_nothing(self, transport: Transport) -> None:
        """Neither the queue nor what is in it."""
        publish_bodies(transport, "a", [b"x"])
        transport.declare(["a", "b"])
        assert transport.counts("a").ready == 1
        assert {"a", "b"} <= set(transport.known_queues())

    def test_verify_names_what_is_missing(self, transport: Transport) -> None:
        """Nothing for queues that were declared; a sentence with the name for one that was not."""
        assert transport.verify(["a", "b"]) == []
        assert any("never-declared" in line for line in transport.verify(["never-declared"]))

    def test_a_consumed_queue_needs_no_declaration(self, transport: Transport) -> None:
        """Consuming declares it."""
        receiver = Receiver(transport, {"fresh": 1})
        eventually(lambda: receiver.consumer.is_connected, PATIENCE_S)
        publish_bodies(transport, "fresh", [b"x"])
        receiver.wait_for(1)

    def test_counts_of_a_queue_that_does_not_exist(self, transport: Transport) -> None:
        """An error with its name, not zeros."""
        with pytest.raises(UnknownQueue, match="never-declared"):
            transport.counts("never-declared")

    def test_counts_say_what_a_queue_holds(self, transport: Transport) -> None:
        """Ready messages, consumers, dead."""
        publish_bodies(transport, "a", [b"x"] * 3)
        counts = transport.counts("a")
        assert (counts.name, counts.ready, counts.consumers, counts.dead) == ("a", 3, 0, 0)
        Receiver(transport, {"a": 1})
        eventually(lambda: transport.counts("a").consumers == 1, PATIENCE_S)
        eventually(lambda: transport.counts("a").ready == 2, PATIENCE_S)

    def test_purge_drops_what_is_ready_and_says_how_much(self, transport: Transport) -> None:
        """Of that queue only."""
        publish_bodies(transport, "a", [b"x"] * 3)
        publish_bodies(transport, "b", [b"x"] * 2)
        assert transport.purge("a") == 3
        assert (transport.counts("a").ready, transport.counts("b").ready) == (0, 2)

    def test_check_states_facts(self, transport: Transport) -> None:
        """For the banner and the doctor."""
        facts = transport.check()
        assert facts["product"]
        assert facts["version"]
        assert facts["address"]
