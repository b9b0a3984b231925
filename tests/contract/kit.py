"""What the contract tests are written with: a ledger, a gate, an app that answers questions."""

from __future__ import annotations

import itertools
import secrets
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pika

from cifra_jobs import App
from cifra_jobs.brokers.base import Publication
from cifra_jobs.brokers.rabbitmq import topology
from cifra_jobs.config import Settings
from cifra_jobs.runtime.worker import Worker
from cifra_jobs.service import LoopService
from cifra_jobs.store.base import Beat, Get, Gone

if TYPE_CHECKING:
    from collections.abc import Callable

    from cifra_jobs.brokers.deadletters import DeadLetter
    from cifra_jobs.jobs.state import TaskRecord
    from cifra_jobs.testing.proxy import TcpProxy
    from tests.contract.faults import FaultyStore, FaultyTransport

#: One ladder of delays for the whole run: declaring its 28 levels takes RabbitMQ a second.
NAMESPACE = f"contract-{secrets.token_hex(3)}"

_NUMBERS = itertools.count(1)


class Ledger:
    """What task bodies did, in order, for a test to wait on: ``ledger("ran", 1)``."""

    def __init__(self) -> None:
        self.entries: list[Any] = []
        self._changed = threading.Condition()

    def __call__(self, *entry: Any) -> None:
        """Write an entry; one word stands alone, several become a tuple."""
        with self._changed:
            self.entries.append(entry[0] if len(entry) == 1 else entry)
            self._changed.notify_all()

    def wait(self, count: int, timeout: float = 10) -> list[Any]:
        """The entries, once there are at least so many."""
        return self.wait_for(lambda entries: len(entries) >= count, timeout, f"{count} entries")

    def wait_for(
        self, is_so: Callable[[list[Any]], bool], timeout: float = 10, hope: str = "it"
    ) -> list[Any]:
        """The entries, once they are as hoped."""
        with self._changed:
            assert self._changed.wait_for(lambda: is_so(self.entries), timeout), (
                f"not within {timeout} s: {hope}; the ledger holds {self.entries}"
            )
            return list(self.entries)

    def __len__(self) -> int:
        return len(self.entries)


class Gate:
    """Holds task bodies until the test opens it; opened at the end in any case."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def open(self) -> None:
        """Let everybody through."""
        self._event.set()

    def wait(self, timeout: float = 20) -> None:
        """Wait until it is open."""
        assert self._event.wait(timeout), "the gate was never opened"


@dataclass
class Make:
    """One make of broker and store."""

    name: str
    broker: dict[str, Any]
    result_backend: dict[str, Any]
    #: Queues to delete when the test is over.
    queues: set[str] = field(default_factory=set)
    #: In front of RabbitMQ and of Redis, where a test puts them there.
    proxies: tuple[TcpProxy, ...] = ()

    @property
    def is_memory(self) -> bool:
        """Whether nothing leaves this process."""
        return self.name == "memory"

    def settings(self, **more: Any) -> Settings:
        """Settings of an app over this make; a section given is merged into ours."""
        ours: dict[str, Any] = {
            "namespace": NAMESPACE,
            "broker": self.broker,
            "result_backend": self.result_backend,
            "retry": {"default_retry_delay": 0.02},
        }
        for name, value in more.items():
            is_section = isinstance(value, dict) and isinstance(ours.get(name), dict)
            ours[name] = {**ours[name], **value} if is_section else value
        return Settings(None, **ours)

    def new_queue(self) -> str:
        """The name of a queue that no other test has."""
        name = f"q{next(_NUMBERS)}-{secrets.token_hex(2)}"
        self.queues.add(name)
        return name


class TestApp(App):
    """An app with the questions that tests ask."""

    __test__ = False

    queue: str
    faulty_transport: FaultyTransport
    faulty_store: FaultyStore

    def get(self, task_id: str) -> TaskRecord | None:
        """The record as the store has it now."""
        (record,) = self.commit.call([Get(task_id)], 5)
        assert record is None or not isinstance(record, str | bool | dict)
        return record  # type: ignore[return-value]

    def state(self, task_id: str) -> str | None:
        """The state as the store has it now."""
        record = self.get(task_id)
        return None if record is None else str(record.state)

    def put(self, body: bytes, *, queue: str | None = None, **properties: Any) -> None:
        """Publish bytes as they are, confirmed: another producer's message."""
        target = queue or self.queue
        self.declare([target])
        done = threading.Event()
        problems: list[Any] = []

        def on_done(errors: list[Any]) -> None:
            problems.extend(error for error in errors if error is not None)
            done.set()

        publication = Publication(target, body, properties.pop("message_id", ""), **properties)
        self.transport.publish([publication], on_done, timeout_s=5)
        assert done.wait(6)
        assert not problems

    def dead(self, queue: str | None = None) -> list[DeadLetter]:
        """The dead letters of the test's queue."""
        return self.transport.dead_letters(queue or self.queue).browse()

    def ready(self, queue: str | None = None) -> int:
        """Messages that wait in the test's queue."""
        return self.transport.counts(queue or self.queue).ready


class Workers:
    """Starts workers in this process, each with a heartbeat as a worker process has one."""

    def __init__(self, app: TestApp) -> None:
        self._app = app
        self._started: list[tuple[Worker, LoopService]] = []

    def __call__(self, *, app: TestApp | None = None, beats: bool = True, **options: Any) -> Worker:
        """Start one; by default it consumes the app's queue with two slots."""
        app = app or self._app
        options = {"queues": [app.queue], "concurrency": 2, **options}
        made = Worker(app, **options)
        beat = Beat(made.worker_id, "{}", 5_000)
        heart = LoopService("beat", 1, lambda: app.commit.submit([beat]))
        self._started.append((made, heart))
        made.start()
        if beats:
            heart.start()
        return made

    def kill(self, worker: Worker) -> None:
        """As a crash looks from outside: nothing is acked any more, and somebody tells of it.

        What it runs goes on as a zombie, which its fence must keep from doing harm.
        """
        self.vanish(worker)
        worker.app.commit.call([Gone(worker.worker_id)], 5)

    def vanish(self, worker: Worker) -> None:
        """As `kill`, but nobody tells the store: its claims stand until its heartbeat lapses."""
        for known, heart in self._started:
            if known is worker:
                heart.stop()
        consumer = worker._consumer  # noqa: SLF001 - a crash asks nobody
        if consumer is not None:
            consumer.close(5)

    def stop_all(self) -> None:
        """Stop every worker that was started."""
        for worker, heart in reversed(self._started):
            transport = getattr(worker.app, "faulty_transport", None)
            if transport is not None and transport.is_dead:
                # It would wait for what never comes.
                continue
            worker.stop(0.2)
            heart.stop()


def delete_queues(url: str, queues: set[str]) -> None:
    """Delete queues and their dead letters on a RabbitMQ."""
    names = topology.Names(NAMESPACE)
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    for queue in queues:
        channel.queue_delete(names.queue(queue))
        channel.queue_delete(names.dead(queue))
    connection.close()


def delete_ladder(url: str) -> None:
    """Delete what all queues of the run shared, and the one that has its name from nobody."""
    delete_queues(url, {"default"})
    connection = pika.BlockingConnection(pika.URLParameters(url))
    topology.teardown(connection.channel(), topology.shared_part(NAMESPACE))
    connection.close()
