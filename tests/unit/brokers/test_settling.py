from hypothesis import given
from hypothesis import strategies as st
from pika.frame import decode_frame

from cifra_jobs.brokers.rabbitmq.settling import Ledger


class Server:
    """The broker's side of a channel: 406 for a tag that is not outstanding."""

    def __init__(self, tags: int) -> None:
        self.outstanding = set(range(1, tags + 1))
        self.acked: set[int] = set()
        self.requeued: set[int] = set()

    def read(self, frames: list[bytes]) -> None:
        for data in frames:
            method = decode_frame(data)[1].method
            tag = method.delivery_tag
            assert tag in self.outstanding, f"406: unknown delivery tag {tag}"
            tags = {each for each in self.outstanding if each <= tag} if method.multiple else {tag}
            self.outstanding -= tags
            if method.NAME == "Basic.Ack":
                self.acked |= tags
            else:
                assert method.requeue
                self.requeued |= tags


@given(st.data())
def test_each_tag_is_settled_once_and_as_it_was_said(data: st.DataObject) -> None:
    tags = data.draw(st.permutations(range(1, 21)))
    acks = data.draw(st.sets(st.integers(1, 20)))
    ledger, server = Ledger(1), Server(20)
    expected_acks: set[int] = set()
    expected_requeues: set[int] = set()
    while tags:
        size = data.draw(st.integers(1, len(tags)))
        bunch, tags = tags[:size], tags[size:]
        yes, no = {t for t in bunch if t in acks}, {t for t in bunch if t not in acks}
        server.read(ledger.settle(yes, is_ack=True))
        server.read(ledger.settle(no, is_ack=False))
        expected_acks |= yes
        expected_requeues |= no
        assert (server.acked, server.requeued) == (expected_acks, expected_requeues)


def test_a_run_from_the_lowest_is_one_frame() -> None:
    assert len(Ledger(1).settle(range(1, 101), is_ack=True)) == 1


def test_a_run_that_ends_in_tags_acked_before_is_still_one_frame() -> None:
    ledger, server = Ledger(1), Server(5)
    server.read(ledger.settle([5, 4], is_ack=True))
    frames = ledger.settle([1, 2, 3], is_ack=True)
    server.read(frames)
    assert len(frames) == 1
    assert server.acked == {1, 2, 3, 4, 5}


def test_settling_again_says_nothing() -> None:
    ledger = Ledger(1)
    ledger.settle([1, 3], is_ack=True)
    assert ledger.settle([1, 3], is_ack=True) == []
