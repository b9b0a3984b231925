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
from cifra_jobs.brokers.base import Transport
from cifra_jobs.brokers.broker import Broker
from cifra_jobs.clock import now_ms
from cifra_jobs.config import Settings
from cifra_jobs.errors import (
    BrokerError,
    CifraError,
    TaskRevoked,
)
from cifra_jobs.jobs import port
from cifra_jobs.jobs.failure import describe
from cifra_jobs.jobs.options import check_settings
from cifra_jobs.jobs.state import TaskRecord
from cifra_jobs.jobs.tasks import Task
from cifra_jobs.log import get_logger
from cifra_jobs.outbox import Outbox
from cifra_jobs.store.base import Get, Revoke, StateStore
from cifra_jobs.store.forks import renew_after_fork
from cifra_jobs.store.group_commit import GroupCommit
from cifra_jobs.store.waiters import Waiters
from cifra_jobs.wiring import open_store, open_transport

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Sequence

    from cifra_jobs.jobs.confirms import Sending
    from cifra_jobs.store.base import Operation, Reply

__all__ = ["App", "configure", "current_app"]

log = get_logger(__name__)


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
        #: Queues that exist on the server as far as this process knows.
        self.declared: set[str] = set()
        self._queue_listeners: list[Callable[[str], None]] = []
        self.outbox = Outbox(self)
        self.broker = Broker(lambda: self.transport, self.outbox.dispatch)
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
            self.declared.clear()
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
        missing = [queue for queue in queues if queue not in self.declared]
        if missing:
            self.transport.declare(missing, timeout_s=timeout_s)
            self.declared.update(missing)

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
            self.declared.difference_update(ours)
            try:
                self.declare(ours)
            except BrokerError as error:
                log.warning("queues could not be declared", queues=sorted(ours), error=str(error))
            then()

        self.on_pool(work)

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

    # -- the port: what tasks and handles ask ------------------------------------------------------

    def prepare(self, messages: Iterable[tuple[dramatiq.Message[Any], int]]) -> list[Any]:
        """See `Outbox.prepare`."""
        return self.outbox.prepare(messages)

    def send(self, prepared: Sequence[Any]) -> Sending:
        """See `Outbox.send`."""
        return self.outbox.send(prepared)

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

    def on_pool(self, work: Callable[[], None]) -> None:
        """Do something that waits for the broker, after what was given before."""
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(1, thread_name_prefix="cifra-declare")
            self._pool.submit(work)


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
