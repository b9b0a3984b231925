"""What a transport must let people do with the dead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cifra_jobs.brokers.deadletters import REPLAYED_HEADER
from cifra_jobs.brokers.failure import FailureRecord
from cifra_jobs.testing.assertions import eventually
from cifra_jobs.testing.conformance.brokers.harness import PATIENCE_S, Receiver, make, publish

if TYPE_CHECKING:
    from cifra_jobs.brokers.base import Publication, Transport
    from cifra_jobs.brokers.deadletters import DeadLetterBox

__all__ = ["DeadLetterCases"]


def _box(transport: Any, queue: str) -> DeadLetterBox:
    # Every transport has it; the contract for senders and workers does without.
    box: DeadLetterBox = transport.dead_letters(queue)
    return box


def _bury(transport: Transport, *bodies: bytes) -> list[Publication]:
    record = FailureRecord(task="reports.build", reason="failed", attempts=3)
    letters = [
        make("a", body, priority=5, headers={**record.to_headers(), "own": 1}, is_dead=True)
        for body in bodies
    ]
    assert publish(transport, *letters) == [None] * len(letters)
    return letters


def _wait_until_dead(box: DeadLetterBox, *bodies: bytes) -> None:
    # What was looked at a moment ago may still be on its way back.
    eventually(lambda: [letter.body for letter in box.browse()] == list(bodies), PATIENCE_S)


class DeadLetterCases:
    """Browsing, sending again, throwing away."""

    def test_the_dead_are_browsed_oldest_first_and_stay(self, transport: Transport) -> None:
        """With the record of their failure."""
        sent = _bury(transport, b"1", b"2", b"3")
        first, second = _box(transport, "a").browse(limit=2)
        assert [first.body, second.body] == [b"1", b"2"]
        assert first.message_id == sent[0].message_id
        assert first.failure is not None
        assert (first.failure.reason, first.failure.attempts) == ("failed", 3)
        eventually(lambda: transport.counts("a").dead == 3, PATIENCE_S)

    def test_one_dead_letter_is_sent_again_without_its_failure(self, transport: Transport) -> None:
        """The rest stays dead; what it carried itself comes along."""
        _, wanted, _ = _bury(transport, b"1", b"2", b"3")
        assert _box(transport, "a").requeue(wanted.message_id)
        (got,) = Receiver(transport, {"a": 10}).wait_for(1)
        assert (got.body, got.message_id) == (b"2", wanted.message_id)
        assert FailureRecord.from_headers(got.headers) is None
        assert (got.headers["own"], got.headers[REPLAYED_HEADER]) == (1, 1)
        eventually(lambda: transport.counts("a").dead == 2, PATIENCE_S)

    def test_those_that_are_wanted_are_sent_again(self, transport: Transport) -> None:
        """Up to the limit, oldest first."""
        _bury(transport, b"1", b"2", b"3", b"4")
        box = _box(transport, "a")
        assert box.requeue_many(lambda letter: letter.body != b"1", limit=2) == 2
        receiver = Receiver(transport, {"a": 10})
        receiver.wait_for(2)
        assert receiver.bodies() == [b"2", b"3"]
        _wait_until_dead(box, b"1", b"4")

    def test_one_dead_letter_is_thrown_away(self, transport: Transport) -> None:
        """It is gone, and asking again says so."""
        first, _ = _bury(transport, b"1", b"2")
        box = _box(transport, "a")
        assert box.purge(first.message_id)
        assert not box.purge(first.message_id)
        assert not box.requeue(first.message_id)
        _wait_until_dead(box, b"2")
        assert transport.counts("a").ready == 0

    def test_those_that_are_wanted_are_thrown_away(self, transport: Transport) -> None:
        """The rest stays."""
        _bury(transport, b"1", b"2", b"3")
        box = _box(transport, "a")
        assert box.purge_many(lambda letter: letter.body in {b"1", b"3"}) == 2
        _wait_until_dead(box, b"2")
