"""`App`: the composition root. Settings in, a wired house out; everything opens when first used."""

from __future__ import annotations

import atexit
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import dramatiq
import orjson
from dramatiq import broker as dramatiq_broker

from cifra_jobs import codec
from cifra_jobs.brokers.base import Publication, Transport
from cifra_jobs.brokers.broker import Broker
from cifra_jobs.clock import now_ms, system_clock
from cifra_jobs.config import Settings
from cifra_jobs.errors import (
    ArgumentError,
    BrokerError,
    BrokerUnavailable,
    CifraError,
    TaskRevoked,
    UnknownQueue,
)
from cifra_jobs.jobs import port
from cifra_jobs.jobs.failure import describe
from cifra_jobs.jobs.message import COMPRESS_ABOVE, encode
from cifra_jobs.jobs.options import check_settings
from cifra_jobs.jobs.state import TaskRecord, TaskState
from cifra_jobs.jobs.tasks import Task
from cifra_jobs.log import get_logger
from cifra_jobs.store.base import Created, Get, Revoke, SendFailed, StateStore
from cifra_jobs.store.forks import renew_after_fork
from cifra_jobs.store.group_commit import GroupCommit
from cifra_jobs.store.waiters import Waiters
from cifra_jobs.wiring import open_store, open_transport

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Sequence

    from cifra_jobs.jobs.port import Sending
    from cifra_jobs.store.base import Operation, Reply

__all__ = ["App", "configure", "current_app"]

log = get_logger(__name__)

#: A message, and as it goes out.
Prepared = tuple[dramatiq.Message[Any], Publication]

#: ms added to the life of the record of a task that waits: beyond it nobody looks for its sender.
_WAITING_TTL_MS = 30 * 24 * 3600 * 1000


class App:
    """A broker, a store and what joins them.

    Args:
        settings: as validated; ``None`` reads file and environment at the first use.
        transport: instead of the one that the settings name.
        store: instead of the one that the settings name.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        transport: Transport | None = None,
        store: StateStore | None = None,
    ) -> None:
        #: How the connections of this process are called in the management UI.
        self.name = "cifra"
        if settings is not None:
            check_settings(settings)
        self._settings = settings
        self._given = (transport, store)
        self._transport = transport
        self._store = store
        self._commit: GroupCommit | None = None
        self._waiters: Waiters | None = None
        self.renew()
        renew_after_fork(self)
        self._declared: set[str] = set()
        self._queue_listeners: list[Callable[[str], None]] = []
        self.broker = Broker(lambda: self.transport, self.dispatch)
        self.broker.add_middleware(_QueueNews(self))

    # -- parts, each opened at its first use -------------------------------------------------------

    @property
    def settings(self) -> Settings:
        """The settings in force; read from file and environment at the first use.

        Raises:
            ConfigError: a key or a value is wrong.
        """
        if self._settings is None:
            with self._lock:
                if self._settings is None:
                    settings = Settings()
                    check_settings(settings)
                    self._settings = settings
        return self._settings

    @property
    def transport(self) -> Transport:
        """The way to the message broker."""
        if self._transport is None:
            with self._lock:
                if self._transport is None:
                    self._transport = open_transport(self.settings, self.name)
        return self._transport

    @property
    def store(self) -> StateStore:
        """The state store."""
        if self._store is None:
            with self._lock:
                if self._store is None:
                    self._store = open_store(self.settings, self.name)
        return self._store

    @property
    def commit(self) -> GroupCommit:
        """The way to the store: every read and write of this process goes through it."""
        if self._commit is None:
            with self._lock:
                if self._commit is None:
                    self._commit = GroupCommit(self.store)
        return self._commit

    @property
    def waiters(self) -> Waiters:
        """Everybody in this process who waits for a task."""
        if self._waiters is None:
            with self._lock:
                if self._waiters is None:
                    self._waiters = Waiters(self.commit, self.store)
        return self._waiters

    @property
    def control_channel(self) -> str:
        """Where workers hear what to stop."""
        return "control"

    # -- life ----------------------------------------------------------------------------------

    def renew(self) -> None:
        """Forget lock and threads: in a forked child they belong to the parent."""
        self._lock = threading.RLock()
        self._pool: ThreadPoolExecutor | None = None

    def install(self) -> None:
        """Make it this process's app: tasks declared from now on are its own."""
        global _current  # noqa: PLW0603 - the app of the process
        _current = self
        if dramatiq_broker.global_broker is None or isinstance(
            dramatiq_broker.global_broker, Broker
        ):
            dramatiq.set_broker(self.broker)

    def configure(self, path: str | os.PathLike[str] | None = None, /, **settings: Any) -> Settings:
        """Take other settings; what was open is closed and opens again when it is needed."""
        fresh = Settings(path, **settings)
        check_settings(fresh)
        self.close()
        with self._lock:
            self._settings = fresh
        return fresh

    def close(self) -> None:
        """Flush what is on its way, up to ``publish_timeout``, and close the connections."""
        with self._lock:
            timeout = self._settings.publish_timeout if self._settings is not None else 5.0
            parts = (self._pool, self._transport, self._waiters, self._commit, self._store)
            self._pool = None
            self._transport, self._store = self._given
            self._commit = self._waiters = None
            self._declared.clear()
        pool, transport, waiters, commit, store = parts
        if pool is not None:
            pool.shutdown(wait=True)
        if transport is not None and transport is not self._given[0]:
            transport.close(timeout)
        if waiters is not None:
            waiters.close()
        if commit is not None:
            commit.close(timeout)
        if store is not None and store is not self._given[1]:
            store.close()

    # -- queues --------------------------------------------------------------------------------

    def declare(self, queues: Iterable[str], *, timeout_s: float = 10.0) -> None:
        """Make sure that queues exist on the server, or with ``topology: verify`` that they do.

        Args:
            queues: short names.
            timeout_s: how long to wait for the broker.

        Raises:
            BrokerUnavailable: the broker does not answer.
            TopologyMismatch: something exists with other arguments, or is missing.
        """
        missing = [queue for queue in queues if queue not in self._declared]
        if missing:
            self.transport.declare(missing, timeout_s=timeout_s)
            self._declared.update(missing)

    def queues_named(self) -> set[str]:
        """The queues that tasks, routes and settings of this process name: ours to declare."""
        settings = self.settings
        # A copy: tasks may be declared meanwhile.
        actors = list(self.broker.actors.values())
        named = {task.queue for task in actors if isinstance(task, Task)}
        named |= set(self.broker.queues) | set(settings.queues)
        return named | {r["queue"] for r in settings.task_routes.values() if "queue" in r}

    def redeclare(self, queues: Iterable[str], then: Callable[[], None]) -> None:
        """Declare queues again where they are ours, on a thread that may wait; then go on."""
        ours = self.queues_named() & set(queues)

        def work() -> None:
            self._declared.difference_update(ours)
            try:
                self.declare(ours)
            except BrokerError as error:
                log.warning("queues could not be declared", queues=sorted(ours), error=str(error))
            then()

        self._on_pool(work)

    def on_declared_queue(self, listener: Callable[[str], None]) -> None:
        """Call ``listener`` with each queue that this process names from now on."""
        self._queue_listeners.append(listener)

    def forget_queue_listener(self, listener: Callable[[str], None]) -> None:
        """Take a listener back; harmless for one that was never given."""
        if listener in self._queue_listeners:
            self._queue_listeners.remove(listener)

    def queue_named(self, queue: str) -> None:
        """A queue was named in this process."""
        for listener in list(self._queue_listeners):
            listener(queue)

    # -- out -----------------------------------------------------------------------------------

    def publication(
        self,
        message: dramatiq.Message[Any],
        queue: str,
        delay_ms: int,
        *,
        is_roundable: bool = False,
        priority: int | None = None,
    ) -> Publication:
        """A message as it goes out.

        Raises:
            EncodeError: an argument cannot travel as JSON; it is named.
            ArgumentError: it is larger than ``max_message_size``.
        """
        body = encode(message)
        encoding = None
        limit = self.settings.max_message_size
        if len(body) > limit:
            raise ArgumentError(
                f"the message for {message.actor_name} has {len(body)} bytes;"
                f" max_message_size is {limit}. Pass a key to the data instead"
            )
        if len(body) > COMPRESS_ABOVE:
            body, encoding = codec.compress(body), codec.DEFLATE
        options = message.options
        headers = options.get("headers")
        return Publication(
            queue,
            body,
            message.message_id,
            self._priority_of(message) if priority is None else priority,
            _plain_headers(headers) if headers else {},
            encoding,
            delay_ms,
            is_roundable,
            type_name=message.actor_name,
        )

    def dispatch(
        self,
        messages: Sequence[tuple[dramatiq.Message[Any], int]],
        *,
        awaits_records: bool = True,
    ) -> Sending:
        """Send messages, each with a delay in ms, as one batch; never blocks for the confirms.

        The ``pending`` records go out in the same breath. What is refused is refused before
        anything is sent.

        Args:
            messages: each with its delay.
            awaits_records: done only once the records are written as well, so that whoever gets
                the id finds it; without, a record may be a few milliseconds late.
        """
        publications = [self.publication(m, m.queue_name, delay) for m, delay in messages]
        ready = [(m, p) for (m, _), p in zip(messages, publications, strict=True)]
        return self._go_out(ready, awaits_records=awaits_records)

    # -- the port: what tasks and handles ask ------------------------------------------------------

    def prepare(self, messages: Iterable[tuple[dramatiq.Message[Any], int]]) -> list[Prepared]:
        """What `send` takes, of messages, each with a delay in ms; refused here or not at all.

        Dramatiq's middleware hears of each, as it does of a message that is enqueued.

        Raises:
            EncodeError: an argument cannot travel as JSON; it is named.
            ArgumentError: a message is larger than ``max_message_size``.
        """
        prepared = []
        for message, delay in messages:
            self.broker.emit_enqueue("before_enqueue", message, delay or None)
            prepared.append((message, self.publication(message, message.queue_name, delay)))
        return prepared

    def send(self, prepared: Sequence[Prepared]) -> Sending:
        """Send what `prepare` gave, as one batch; never blocks for the confirms."""
        sending = self._go_out(prepared)
        if self.broker.observes("after_enqueue"):
            sending.add_done_callback(lambda done: self._tell_sent(done, prepared))
        return sending

    def record(self, task_id: str) -> Future[TaskRecord | None]:
        """What the store knows of a task."""
        return self._ask([Get(task_id)], lambda replies: replies[0])

    def final_record(self, task_id: str) -> Future[TaskRecord]:
        """The record of a task once it has ended; cancel the future to stop waiting."""
        return self.waiters.wait_final(task_id)

    def follow(self, task_id: str, on_news: Callable[[TaskRecord], None]) -> Callable[[], None]:
        """Call ``on_news`` at each change of a task; returns what ends it."""
        return self.waiters.follow(task_id, on_news).close

    def revoke(self, task_ids: Sequence[str], *, terminate: bool) -> Future[list[str | None]]:
        """Revoke tasks: a durable flag each, and a signal to whoever runs them."""
        error = codec.dumps(describe(TaskRevoked("it was revoked"))).decode()
        now = now_ms()
        signal = orjson.dumps({"revoke": list(task_ids), "terminate": terminate}).decode()

        def told(replies: list[Any]) -> list[str | None]:
            self.store.publish(self.control_channel, signal)
            return replies

        return self._ask([Revoke(task_id, now, error) for task_id in task_ids], told)

    # -- facts ---------------------------------------------------------------------------------

    def broker_answers(self) -> bool:
        """Whether the message broker answers now, over the publishing connection."""
        try:
            self.transport.check()
        except BrokerError:
            return False
        return True

    def describe(self) -> dict[str, str]:
        """What it is connected to, for the banner; passwords are not in it."""
        facts = {f"broker.{key}": value for key, value in self.transport.check().items()}
        try:
            facts |= {f"store.{key}": value for key, value in self.store.check().items()}
        except CifraError as error:
            facts["store.error"] = str(error)
        return facts

    def tasks_by_queue(self) -> dict[str, list[str]]:
        """The names of the tasks declared in this process, by the queue their calls go to."""
        tasks: dict[str, list[str]] = {}
        for name, actor in sorted(self.broker.actors.items()):
            queue = actor.queue if isinstance(actor, Task) else actor.queue_name
            tasks.setdefault(queue, []).append(name)
        return tasks

    # -- inside --------------------------------------------------------------------------------

    def _priority_of(self, message: dramatiq.Message[Any]) -> int:
        options = message.options
        actor = self.broker.actors.get(message.actor_name)
        if isinstance(actor, Task):
            chosen = options.get("set", {}).get("priority")
            return actor.resolved().priority if chosen is None else chosen
        known = actor.options.get("broker_priority") if actor is not None else None
        return int(options.get("broker_priority", known) or 0)

    def created(self, message: dramatiq.Message[Any], publication: Publication) -> Created:
        """The first record of a message that goes out."""
        options = message.options
        delay = publication.delay_ms
        return Created(
            message.message_id,
            message.actor_name,
            publication.queue,
            TaskState.SCHEDULED if delay else TaskState.QUEUED,
            publication.priority,
            message.message_timestamp,
            options.get("eta") if delay else None,
            options.get("root_id"),
            options.get("parent_id"),
            _WAITING_TTL_MS + delay,
        )

    def _go_out(self, ready: Sequence[Prepared], *, awaits_records: bool = True) -> Sending:
        publications = [publication for _, publication in ready]
        sending: Sending = Future()
        # It goes out whatever becomes of those who await it: one who gives up cancels nobody's.
        sending.set_running_or_notify_cancel()
        batch = _Batch(self, publications, sending, awaits_records=awaits_records)
        unknown = {p.queue for p in publications} - self._declared
        # Submitted before the publish, so that a record is older than the run of its task.
        created: list[Operation] = [self.created(m, p) for m, p in ready]
        self.commit.submit(created, batch.on_created, is_lazy=not awaits_records)
        if unknown:
            # Declaring waits for the broker; the caller may be an event loop.
            self._on_pool(lambda: batch.declare_and_publish(unknown))
        else:
            batch.publish()
        return sending

    def _tell_sent(self, sending: Sending, prepared: Sequence[Prepared]) -> None:
        if sending.cancelled() or sending.exception() is not None:
            return
        with port.carrying():
            for message, publication in prepared:
                self.broker.emit_enqueue("after_enqueue", message, publication.delay_ms or None)

    def _ask(self, operations: list[Operation], read: Callable[[list[Any]], Any]) -> Future[Any]:
        answer: Future[Any] = Future()

        def done(replies: list[Reply] | CifraError) -> None:
            if not answer.set_running_or_notify_cancel():
                return
            if isinstance(replies, CifraError):
                answer.set_exception(replies)
                return
            try:
                answer.set_result(read(replies))
            except CifraError as error:
                answer.set_exception(error)

        self.commit.submit(operations, done)
        return answer

    def _on_pool(self, work: Callable[[], None]) -> None:
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(1, thread_name_prefix="cifra-declare")
            self._pool.submit(work)


class _Batch:
    """Messages sent together: done when all are confirmed and their records are written."""

    def __init__(
        self,
        app: App,
        publications: list[Publication],
        sending: Sending,
        *,
        awaits_records: bool,
    ) -> None:
        self._app = app
        self._publications = publications
        self._sending = sending
        self._lock = threading.Lock()
        self._awaits_records = awaits_records
        self._waits_for = 2 if awaits_records else 1
        self._error: BaseException | None = None
        self._is_retried = False
        self._begun_at = system_clock.monotonic()

    def publish(self) -> None:
        """Hand the messages to the transport."""
        app = self._app
        app.transport.publish(
            self._publications, self._on_confirmed, timeout_s=app.settings.publish_timeout
        )

    def declare_and_publish(self, queues: set[str]) -> None:
        """Declare those queues that are ours, then publish; RabbitMQ judges the others."""
        app = self._app
        # Sends wait here in line: during an outage each would wait for those before it as well.
        left_s = self._begun_at + app.settings.publish_timeout - system_clock.monotonic()
        if left_s <= 0:
            self._fail_all(BrokerUnavailable("RabbitMQ did not answer in time; nothing was sent"))
            return
        try:
            named = app.queues_named()
            # With nothing of ours on the server yet, it could not even say that a queue is unknown.
            app.declare(named & queues or named, timeout_s=left_s)
        except Exception as error:  # noqa: BLE001 - whatever it is, the sender must hear of it
            self._fail_all(error)
            return
        self.publish()

    def on_created(self, replies: Any) -> None:
        """The records are written, or Redis is away: the publish counts all the same."""
        if isinstance(replies, CifraError):
            log.warning("sent without a record: Redis is away", error=str(replies))
        if self._awaits_records:
            self._one_done()

    def _on_confirmed(self, errors: list[BrokerError | None]) -> None:
        failed = {i: error for i, error in enumerate(errors) if error is not None}
        if not failed:
            self._one_done()
            return
        lost = {
            self._publications[i].queue
            for i, error in failed.items()
            if isinstance(error, UnknownQueue)
        }
        ours = lost & self._app.queues_named()
        if ours and not self._is_retried:
            # Declared before, and gone from the server since: declare it again, once.
            self._is_retried = True
            self._publications = [self._publications[i] for i in failed]
            self._app.redeclare(ours, self.publish)
            return
        self._fail(failed)

    def _fail_all(self, error: Exception) -> None:
        self._fail(dict.fromkeys(range(len(self._publications)), error))

    def _fail(self, failed: dict[int, Any]) -> None:
        now = now_ms()
        operations: list[Operation] = [
            SendFailed(self._publications[i].message_id, codec.dumps(describe(error)).decode(), now)
            for i, error in failed.items()
        ]
        first = next(iter(failed.values()))
        total = len(self._publications)
        if len(failed) < total or total > 1:
            first.add_note(f"{len(failed)} of {total} messages of this batch were not confirmed")
        self._error = first
        self._app.commit.submit(operations, lambda _: self._one_done())

    def _one_done(self) -> None:
        with self._lock:
            self._waits_for -= 1
            if self._waits_for:
                return
        if self._error is not None:
            self._sending.set_exception(self._error)
        else:
            self._sending.set_result(None)


class _QueueNews(dramatiq.Middleware):
    """Tells the app of queues named after a worker has started."""

    def __init__(self, app: App) -> None:
        self._app = app

    def after_declare_queue(self, broker: dramatiq.Broker, queue_name: str) -> None:
        """A queue was named."""
        del broker
        self._app.queue_named(queue_name)

    def after_declare_actor(self, broker: dramatiq.Broker, actor: dramatiq.Actor[Any, Any]) -> None:
        """A task was declared: the settings may send it to a queue that nobody has named yet."""
        del broker
        self._app.queue_named(actor.queue_name)


def _plain_headers(headers: dict[str, Any]) -> dict[str, Any]:
    """The caller's headers as the management UI can show them: strings and integers."""
    return {
        f"h-{name}": value
        if type(value) is str or _is_int64(value)
        else codec.dumps(codec.pack(value)).decode()
        for name, value in headers.items()
    }


def _is_int64(value: Any) -> bool:
    return type(value) is int and -(2**63) <= value < 2**63


_current = App()


def current_app() -> App:
    """The app of this process."""
    return _current


def configure(path: str | os.PathLike[str] | None = None, /, **settings: Any) -> Settings:
    """Set this process's settings; without it file and environment are read at the first send.

    Args:
        path: a configuration file, instead of ``CIFRA_CONFIG`` and ``./config.yaml``.
        **settings: over file and environment; the keys of the file, such as
            ``broker={"type": "memory"}``, ``task_routes=…``, ``task_defaults={"timeout": 30}``.

    Raises:
        ConfigError: a key or a value is wrong; the nearest name is given.
    """
    return current_app().configure(path, **settings)


port.install(current_app)
_current.install()
atexit.register(lambda: current_app().close())
