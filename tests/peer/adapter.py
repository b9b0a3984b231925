"""Our broker and worker behind the names of Dramatiq's that its tests use beyond the contract."""

from __future__ import annotations

import queue
from typing import TYPE_CHECKING, Any

import dramatiq
import dramatiq.worker
import pika
from dramatiq.errors import QueueJoinTimeout
from dramatiq.message import Message

from cifra_jobs.app import App
from cifra_jobs.brokers.base import Publication
from cifra_jobs.brokers.broker import Broker
from cifra_jobs.clock import system_clock
from cifra_jobs.runtime.worker import Worker
from cifra_jobs.testing import eventually

if TYPE_CHECKING:
    from dramatiq.broker import MessageProxy

    from cifra_jobs.brokers.rabbitmq.topology import Names
    from cifra_jobs.config import Settings
    from cifra_jobs.testing import TcpProxy

    from .counted import Counted  # noqa: TID252

#: Seconds for what should happen at once.
_PATIENCE_S = 10.0
#: Seconds after which a queue that is gone stays gone: a worker tries again with back-off.
_REDECLARED_S = 2.0
#: Milliseconds for a join without a limit of its own: shorter than the limit of a test.
_JOIN_MS = 50_000


class _Grave(dramatiq.Middleware):
    """Remembers what died, with the exception of its last run."""

    def __init__(self) -> None:
        self.dead: dict[str, list[tuple[MessageProxy, BaseException | None]]] = {}

    def before_nack(self, broker: dramatiq.Broker, message: MessageProxy) -> None:
        # The worker clears the exception from the message soon after.
        error: BaseException | None = getattr(message, "_exception", None)
        self.dead.setdefault(message.queue_name, []).append((message, error))


class _Queue:
    """``broker.queues[name]``: raw bytes in and out."""

    def __init__(self, transport: Counted, name: str) -> None:
        self._transport = transport
        self._name = name

    def put(self, body: bytes) -> None:
        """Publish a body as it is, as another program would."""
        confirmed: queue.SimpleQueue[Any] = queue.SimpleQueue()
        message_id = Message.decode(body).message_id
        self._transport.declare([self._name])
        publication = Publication(self._name, body, message_id)
        self._transport.publish([publication], confirmed.put, timeout_s=_PATIENCE_S)
        assert confirmed.get(timeout=_PATIENCE_S) == [None]

    def get(self, timeout: float) -> bytes:
        """Take a body off the queue."""
        arrived: queue.SimpleQueue[Any] = queue.SimpleQueue()
        consumer = self._transport.consume({self._name: 1}, arrived.put)
        deliveries = arrived.get(timeout=timeout)
        consumer.ack(deliveries)
        consumer.close(_PATIENCE_S)
        body: bytes = deliveries[0].body
        return body


class _Queues(dict[str, Any]):
    """The declared queues; asked for one, it gives a way into it."""

    transport: Counted

    def __getitem__(self, name: str) -> _Queue:
        if name not in self:
            raise KeyError(name)
        return _Queue(self.transport, name)


class PeerBroker(Broker):
    """Our broker, with joins that know when all is done, and with what died."""

    app: App
    transport: Counted
    grave: _Grave

    @classmethod
    def over(cls, transport: Counted, settings: Settings) -> PeerBroker:
        """The broker of an app of its own over this transport."""
        app = App(settings, transport=transport)  # type: ignore[arg-type]
        broker = app.broker
        broker.__class__ = cls
        assert isinstance(broker, cls)
        queues = _Queues(broker.queues)
        queues.transport = transport
        broker.queues = queues
        broker.app, broker.transport, broker.grave = app, transport, _Grave()
        broker.add_middleware(broker.grave)
        return broker

    @property
    def dead_letters(self) -> list[MessageProxy]:
        """All that died."""
        return [proxy for letters in self.grave.dead.values() for proxy, _ in letters]

    def join(
        self,
        queue_name: str,
        min_successes: int = 0,
        idle_time: int = 0,
        *,
        timeout: int | None = None,
        fail_fast: bool | None = None,
    ) -> None:
        """Wait until the queue is done; a dead letter's exception is raised unless told not to."""
        self._declared(queue_name)
        limit_ms = _JOIN_MS if timeout is None else timeout
        if not self.transport.wait_done(queue_name, limit_ms / 1000):
            raise QueueJoinTimeout(queue_name)
        letters = self.grave.dead.get(queue_name, [])
        if fail_fast or (fail_fast is None and self.is_fail_fast):
            for _, error in letters:
                raise (error or Exception("a message died without an exception")) from None
        self.grave.dead[queue_name] = [(proxy, None) for proxy, _ in letters]

    #: What a join without ``fail_fast`` does: Dramatiq's StubBroker raises.
    is_fail_fast = True


class PeerRabbitmqBroker(PeerBroker):
    """Our broker over RabbitMQ, with a look behind it: a connection to cut, a channel to ask on."""

    is_fail_fast = False
    proxy: TcpProxy
    url: str
    names: Names
    _channel: _Channel | None = None

    @property
    def connection(self) -> _Connection:
        """The connections of this process."""
        return _Connection(self)

    @connection.deleter
    def connection(self) -> None:
        self.proxy.cut()

    @property
    def channel(self) -> _Channel:
        """A look at the server by somebody else, until it is deleted."""
        if self._channel is None:
            self._channel = _Channel(self.url, self.names)
        return self._channel

    @channel.deleter
    def channel(self) -> None:
        if self._channel is not None:
            self._channel.close()
        self._channel = None


class _Connection:
    """What a test does to a connection; it must come back by itself."""

    def __init__(self, broker: PeerRabbitmqBroker) -> None:
        self._broker = broker

    def close(self) -> None:
        self._broker.proxy.cut()

    @property
    def is_open(self) -> bool:
        return bool(self._broker.transport.check())


class _Channel:
    """pika's own channel, with the short names of queues."""

    def __init__(self, url: str, names: Names) -> None:
        self._connection = pika.BlockingConnection(pika.URLParameters(url))
        self._names = names

    def queue_declare(self, queue_name: str, *, passive: bool) -> Any:
        """Ask for a queue, for so long as a worker may need to declare it again."""
        name = self._names.queue(queue_name)
        deadline = system_clock.monotonic() + _REDECLARED_S
        while True:
            channel = self._connection.channel()
            try:
                return channel.queue_declare(name, passive=passive)
            except pika.exceptions.ChannelClosedByBroker:
                if system_clock.monotonic() > deadline:
                    raise
                self._connection.sleep(_REDECLARED_S / 20)

    def queue_delete(self, queue_name: str) -> None:
        self._connection.channel().queue_delete(self._names.queue(queue_name))

    def close(self) -> None:
        self._connection.close()


class PeerWorker:
    """``dramatiq.Worker`` as the tests build it, over our worker."""

    def __init__(
        self,
        broker: PeerBroker,
        *,
        queues: set[str] | None = None,
        worker_timeout: int = 1000,
        worker_threads: int = 8,
    ) -> None:
        self.broker = broker
        self._queues = queues
        self._threads = worker_threads
        self.queue_prefetch = dramatiq.worker.QUEUE_PREFETCH or worker_threads * 2
        self._worker: Worker | None = None

    def start(self) -> None:
        """Start ours."""
        self._worker = Worker(
            self.broker.app,
            queues=None if self._queues is None else sorted(self._queues),
            concurrency=self._threads,
            prefetch_multiplier=max(1, self.queue_prefetch // self._threads),
        )
        self._worker.start()

    def stop(self, timeout: int = 10_000) -> None:
        """Stop it, within milliseconds."""
        if self._worker is not None:
            self._worker.stop(timeout / 1000)

    def pause(self) -> None:
        """Take and start nothing more; returns when that is so."""
        worker = self._worker
        assert worker is not None
        eventually(lambda: worker.is_connected, _PATIENCE_S)
        transport = self.broker.transport
        transport.pause()
        worker.pause()
        eventually(
            lambda: not any(transport.counts(name).consumers for name in transport.consumed),
            _PATIENCE_S,
        )

    def resume(self) -> None:
        """Go on."""
        assert self._worker is not None
        self.broker.transport.resume()
        self._worker.resume()

    def join(self) -> None:
        """Wait until no delivery is under way."""
        assert self.broker.transport.wait_idle(_JOIN_MS / 1000)

    @property
    def consumers(self) -> set[str]:
        """The queues that are consumed."""
        return self.broker.transport.consumed
