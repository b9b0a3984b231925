"""`RabbitmqTransport`: the broker as a process sees it, over at most two connections."""

from __future__ import annotations

import os
import threading
import weakref
from typing import TYPE_CHECKING, Any

from cifra_jobs.brokers.base import Consumer, Delivery, Publication, QueueCounts, Transport
from cifra_jobs.brokers.rabbitmq import topology
from cifra_jobs.brokers.rabbitmq.batch import Batch
from cifra_jobs.brokers.rabbitmq.consumer import RabbitmqConsumer
from cifra_jobs.brokers.rabbitmq.deadletters import DeadLetters
from cifra_jobs.brokers.rabbitmq.declaring import Declarer, TopologyMode
from cifra_jobs.brokers.rabbitmq.dialog import Dialog, ask
from cifra_jobs.brokers.rabbitmq.publisher import Publisher
from cifra_jobs.brokers.rabbitmq.urls import split_urls
from cifra_jobs.clock import system_clock
from cifra_jobs.errors import BrokerUnavailable, TopologyMismatch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from cifra_jobs.brokers.rabbitmq.connection import Connection
    from cifra_jobs.brokers.rabbitmq.topology import QueueSpec
    from cifra_jobs.errors import BrokerError

__all__ = ["RabbitmqTransport"]

#: How long a question to the broker may take, in seconds.
_ASK_TIMEOUT_S = 10.0

_transports: weakref.WeakSet[RabbitmqTransport] = weakref.WeakSet()


class RabbitmqTransport(Transport):
    """RabbitMQ 3.10 and later.

    Nothing is opened until it is used: the first publish or question opens the publishing
    connection, `consume` opens one more.

    Args:
        url: ``amqp://user:password@host:5672/vhost``, or ``amqps``; several hosts with commas.
        namespace: first word of every name on the broker.
        queues: what is chosen for each queue; others are classic with nine levels of priority.
        topology: ``auto`` declares; ``verify`` only looks, for users without configure rights.
        window: how many publishes may be unconfirmed at a time.
        heartbeat_s: how often the two sides prove that they live; 20 to 30.
        name: how the connections are called in the management UI; process and host are added.

    Raises:
        ValueError: the URL, the mode or the name of a queue cannot be.
    """

    def __init__(
        self,
        url: str,
        *,
        namespace: str = "cifra",
        queues: Mapping[str, QueueSpec] | None = None,
        topology: TopologyMode = "auto",
        window: int = 1000,
        heartbeat_s: int = 20,
        name: str = "cifra",
    ) -> None:
        if topology not in ("auto", "verify"):
            raise ValueError(f"topology is auto or verify, not {topology!r}")
        self._urls = split_urls(url)
        self._specs = dict(queues or {})
        self._window = window
        self._heartbeat_s = heartbeat_s
        self._name = name
        self._declarer = Declarer(namespace, self._specs, topology)
        self._lock = threading.Lock()
        self._publisher: Publisher | None = None
        self._consumers: list[RabbitmqConsumer] = []
        self._is_closed = False
        _transports.add(self)

    def publish(
        self,
        publications: Sequence[Publication],
        done: Callable[[list[BrokerError | None]], None],
        *,
        timeout_s: float,
    ) -> None:
        """Publish a batch; see `Transport.publish`."""
        batch = Batch(publications, done, timeout_s)
        try:
            publisher = self._open_publisher()
        except BrokerUnavailable as error:
            batch.finish(error)
            return
        # The delays take everything: that a queue does not exist would show only in an hour.
        batch.strangers = {
            each.queue
            for each in publications
            if each.delay_ms > 0 and each.queue not in self._declarer.known
        }
        publisher.intake.put(batch)

    def consume(
        self,
        queues: Mapping[str, int],
        on_deliveries: Callable[[list[Delivery]], None],
        on_lost: Callable[[list[str]], None] | None = None,
    ) -> Consumer:
        """Consume queues; see `Transport.consume`.

        Raises:
            ValueError: a queue has a name that cannot be.
        """
        for queue in queues:
            topology.check_queue_name(queue)
        consumer = RabbitmqConsumer(
            self._urls,
            queues,
            self._declarer,
            on_deliveries=on_deliveries,
            on_lost=on_lost,
            name=f"{self._name} consuming",
            heartbeat_s=self._heartbeat_s,
        )
        with self._lock:
            self._check_open()
            self._consumers = [c for c in self._consumers if c.connection.is_alive]
            self._consumers.append(consumer)
            consumer.connection.start()
        return consumer

    def declare(self, queues: Iterable[str], *, timeout_s: float = _ASK_TIMEOUT_S) -> None:
        """Make sure that these queues, and what they need, exist; see `Transport.declare`."""
        names = [topology.check_queue_name(name) for name in queues]
        names = [name for name in names if name not in self._declarer.known]
        if not names:
            return
        connection = self._open_publisher().connection
        try:
            ask(
                connection,
                lambda done: self._declarer.ensure(connection, names, done),
                timeout_s,
            )
        except TopologyMismatch as error:
            # The broker names the first difference only.
            lines = self.verify(names)
            if len(lines) > 1:
                raise TopologyMismatch(f"{error} All differences: {'; '.join(lines)}") from error
            raise

    def verify(self, queues: Iterable[str]) -> list[str]:
        """Differences between what should exist and what does.

        Bindings cannot be seen over AMQP; with ``topology: verify`` only existence is looked at.

        Raises:
            BrokerUnavailable: the broker did not answer.
        """
        names = [topology.check_queue_name(name) for name in queues]
        found: list[str] = []
        connection = self._open_publisher().connection

        def start(done: Callable[[Exception | None], None]) -> None:
            def on_seen(error: Exception | None, lines: list[str]) -> None:
                found.extend(lines)
                done(error)

            self._declarer.differences(connection, names, on_seen)

        ask(connection, start, _ASK_TIMEOUT_S)
        return found

    def known_queues(self) -> list[str]:
        """Queues that this process declared or found."""
        return sorted(self._declarer.known)

    def counts(self, queue: str) -> QueueCounts:
        """What the queue holds now.

        Raises:
            UnknownQueue: it does not exist.
            BrokerUnavailable: the broker did not answer.
        """
        ready, consumers = self._count(queue, self._declarer.names.queue(queue))
        dead, _ = self._count(queue, self._declarer.names.dead(queue))
        return QueueCounts(queue, ready, consumers, dead)

    def purge(self, queue: str, *, dead: bool = False) -> int:
        """Drop every ready message of the queue, or of its dead letters; returns how many.

        Raises:
            UnknownQueue: it does not exist.
            BrokerUnavailable: the broker did not answer.
        """
        names = self._declarer.names
        name = names.dead(queue) if dead else names.queue(queue)
        reply = self._ask_queue(
            queue, lambda channel, resolve: channel.queue_purge(name, callback=resolve)
        )
        return int(reply.method.message_count)

    def check(self) -> dict[str, str]:
        """Product, version, address, node and connection limits of the broker.

        Raises:
            BrokerUnavailable: the broker did not answer.
        """
        connection = self._asking()
        with Dialog(connection, _ASK_TIMEOUT_S):
            server = connection.server
            return {
                "product": str(server.get("product", "unknown")),
                "version": str(server.get("version", "unknown")),
                "platform": str(server.get("platform", "")),
                "cluster": str(server.get("cluster_name", "")),
                "address": connection.address,
                "namespace": self._declarer.names.namespace,
                "topology": self._declarer.mode,
                "frame_max": str(connection.frame_max),
                "blocked": "yes" if connection.is_blocked else "no",
            }

    def dead_letters(self, queue: str) -> DeadLetters:
        """Browse, requeue and purge what died on this queue."""
        return DeadLetters(self, self._asking(), self._declarer.names.dead(queue), queue)

    def close(self, timeout_s: float = 5.0) -> None:
        """Wait for confirms under way, then close the connections."""
        with self._lock:
            self._is_closed = True
            publisher, self._publisher = self._publisher, None
            consumers, self._consumers = self._consumers, []
        for consumer in consumers:
            consumer.close(timeout_s)
        if publisher is not None:
            publisher.intake.close(timeout_s)

    # ── private ──────────────────────────────────────────────────────────────────────────────────

    def _open_publisher(self) -> Publisher:
        publisher = self._publisher
        if publisher is not None:
            return publisher
        with self._lock:
            self._check_open()
            if self._publisher is None:
                self._publisher = Publisher(
                    self._urls,
                    self._declarer,
                    name=f"{self._name} publishing",
                    heartbeat_s=self._heartbeat_s,
                    window=self._window,
                )
                self._publisher.connection.start()
            return self._publisher

    def _check_open(self) -> None:
        if self._is_closed:
            raise BrokerUnavailable("this transport was closed")

    def _asking(self) -> Connection:
        """The connection to ask on: during an alarm the publishing one is not heard."""
        publishing = self._open_publisher().connection
        if publishing.is_blocked:
            for consumer in self._consumers:
                if consumer.connection.is_up:
                    return consumer.connection
        return publishing

    def _ask_queue(self, queue: str, action: Callable[[Any, Callable[[Any], None]], None]) -> Any:
        give_up = system_clock.monotonic() + _ASK_TIMEOUT_S
        while True:
            try:
                with Dialog(self._asking(), _ASK_TIMEOUT_S) as dialog:
                    return dialog.do(action)
            except TopologyMismatch as error:
                raise self._open_publisher().unknown_queue(queue) from error
            except BrokerUnavailable:
                # Lost between two steps: there is time to ask once more.
                if system_clock.monotonic() > give_up or self._is_closed:
                    raise

    def _count(self, queue: str, name: str) -> tuple[int, int]:
        reply = self._ask_queue(
            queue,
            lambda channel, resolve: channel.queue_declare(name, passive=True, callback=resolve),
        )
        return int(reply.method.message_count), int(reply.method.consumer_count)

    def _after_fork(self) -> None:
        publisher, self._publisher = self._publisher, None
        consumers, self._consumers = self._consumers, []
        self._lock = threading.Lock()
        if publisher is not None:
            publisher.connection.abandon()
        for consumer in consumers:
            consumer.connection.abandon()


def _reset_children() -> None:
    for transport in list(_transports):
        transport._after_fork()  # noqa: SLF001 - of the same module


os.register_at_fork(after_in_child=_reset_children)
