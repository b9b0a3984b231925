"""One restart of the broker, under everything at once; each test looks at one thing."""

import threading
import uuid
from collections.abc import Iterator

import pytest

from cifra_jobs.brokers.base import Delivery, Publication
from cifra_jobs.brokers.rabbitmq.transport import RabbitmqTransport
from cifra_jobs.clock import now_ms
from cifra_jobs.dev.rabbitmq import PrivateRabbitmq
from cifra_jobs.errors import BrokerError
from cifra_jobs.testing import eventually
from cifra_jobs.testing.conformance.brokers.harness import publish

DELAY_MS = 3_000
HELD, WORK = "restart-held", "restart-work"


class Story:
    """Sends, receives and delays, and keeps what it saw."""

    def __init__(self, url: str) -> None:
        self.transport = RabbitmqTransport(url, namespace="restart")
        self.transport.declare([HELD, WORK])
        self.confirmed: list[str] = []
        self.refused: list[BrokerError] = []
        self.received: list[str] = []
        self.lost: list[list[str]] = []
        self.came_ms: dict[str, int] = {}
        self.delayed = {f"delayed-{number}" for number in range(20)}
        self.due_ms = 0
        self.is_enough = False
        self.changed = threading.Condition()
        self.consumer = self.transport.consume(
            {WORK: 50, HELD: 50}, self.on_deliveries, self.lost.append
        )

    def on_deliveries(self, deliveries: list[Delivery]) -> None:
        with self.changed:
            for each in deliveries:
                if each.message_id in self.delayed:
                    self.came_ms.setdefault(each.message_id, now_ms())
                else:
                    self.received.append(str(each.message_id))
            self.changed.notify_all()
        self.consumer.ack(deliveries)

    def delay(self) -> None:
        self.due_ms = now_ms() + DELAY_MS
        batch = [
            Publication(HELD, b"{}", message_id, delay_ms=DELAY_MS) for message_id in self.delayed
        ]
        assert publish(self.transport, *batch) == [None] * len(batch)

    def send(self) -> None:
        """A few messages at a time, again and again, until it is enough."""
        while not self.is_enough:
            batch = [Publication(WORK, b"{}", uuid.uuid4().hex) for _ in range(20)]
            errors = publish(self.transport, *batch, timeout_s=60)
            for publication, error in zip(batch, errors, strict=True):
                if error is None:
                    self.confirmed.append(publication.message_id)
                else:
                    self.refused.append(error)

    def has_all(self) -> bool:
        return set(self.confirmed) <= set(self.received) and set(self.came_ms) == self.delayed


@pytest.fixture(scope="module")
def story(node: PrivateRabbitmq) -> Iterator[Story]:
    story = Story(node.url)
    story.delay()
    sender = threading.Thread(target=story.send)
    sender.start()
    with story.changed:
        assert story.changed.wait_for(lambda: len(story.received) > 100, 20)
    node.restart()
    eventually(lambda: story.consumer.is_connected, 10)
    before = len(story.confirmed)
    eventually(lambda: len(story.confirmed) > before + 100, 20)
    story.is_enough = True
    sender.join(60)
    with story.changed:
        story.changed.wait_for(story.has_all, 20)
    yield story
    story.transport.close()


def test_every_confirmed_message_is_delivered_over_a_restart(story: Story) -> None:
    assert len(story.confirmed) > 200
    assert set(story.confirmed) <= set(story.received)


def test_publishing_waits_for_the_brokers_return(story: Story) -> None:
    assert story.refused == []


def test_consuming_goes_on_after_the_return(story: Story) -> None:
    # Within ten seconds: the story waits no longer.
    assert story.consumer.is_connected


def test_a_restart_is_told_once_for_all_queues(story: Story) -> None:
    assert [sorted(each) for each in story.lost] == [[HELD, WORK]]


def test_delayed_messages_survive_and_are_not_early(story: Story) -> None:
    assert set(story.came_ms) == story.delayed
    assert min(story.came_ms.values()) >= story.due_ms
