"""`Worker`: one process's consumer, executors and settlement.

Duties:

1. enter the lifespans, declare the queues, consume them;
2. hand deliveries to `Intake`, what it grants to the `Dispatcher`, what ran to `Settlement`;
3. know what runs, tell the store that it has started, stop it when it is revoked;
4. drain: take nothing more, give back what has not started, let the rest finish.
"""

from __future__ import annotations

import difflib
import secrets
import threading
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson
from dramatiq.asyncio import async_to_sync
from dramatiq.broker import MessageProxy

from cifra_jobs.clock import now_ms
from cifra_jobs.codec import dumps
from cifra_jobs.errors import (
    BrokerError,
    BrokerUnavailable,
    DecodeError,
    OptionError,
    StoreUnavailable,
    TaskRevoked,
    WorkerLost,
    WouldDeadlock,
)
from cifra_jobs.jobs.failure import describe
from cifra_jobs.jobs.lifespan import Lifespans
from cifra_jobs.jobs.options import RunOptions
from cifra_jobs.jobs.outcome import Dead, Ended
from cifra_jobs.jobs.port import carrying
from cifra_jobs.jobs.state import FINAL_STATES, TaskState
from cifra_jobs.jobs.tasks import Task
from cifra_jobs.log import get_logger
from cifra_jobs.middleware import Bound, bind
from cifra_jobs.runtime.credit import Credit
from cifra_jobs.runtime.dispatcher import Dispatcher
from cifra_jobs.runtime.executors import LoopExecutor, ThreadExecutor, interrupt_thread
from cifra_jobs.runtime.intake import Intake
from cifra_jobs.runtime.running import Running
from cifra_jobs.runtime.settlement import Settlement
from cifra_jobs.runtime.timers import Timers
from cifra_jobs.store.base import Beat, Finish, Get, Gone, Progress, Release, Started

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import dramatiq

    from cifra_jobs.app import App
    from cifra_jobs.brokers.base import Consumer, Delivery, Extension
    from cifra_jobs.brokers.failure import FailureRecord
    from cifra_jobs.jobs.outcome import Outcome
    from cifra_jobs.middleware.attempt import Attempt
    from cifra_jobs.middleware.base import Chain
    from cifra_jobs.middleware.hooks import DramatiqHooks
    from cifra_jobs.store.base import Operation, Subscription

__all__ = ["Worker"]


async def _sample() -> None: ...


#: The code of Dramatiq's bridge from a coroutine function to its own loop thread.
_BRIDGE = async_to_sync(_sample).__code__

log = get_logger(__name__)

#: Seconds after which a run that has not ended is told to the store as started: most no-ops have.
_ANNOUNCE_S = 0.005
#: Seconds until a queue that could not be declared is tried again.
_ASK_AGAIN_S = 1.0
#: Seconds that cancelled runs get to end, once the grace is over.
_LAST_WORDS_S = 5.0
#: Revoked ids remembered; a claimed attempt waits for its slot for less than so many revokes.
_REVOKED_KEPT = 10_000


class Worker:
    """Consumes queues and runs tasks, in this process.

    Args:
        app: the application: broker, store, settings.
        name: how people call it.
        queues: short names; ``None`` follows every queue that is declared, now or later.
        concurrency: how many attempts run at once, whichever executor runs them.
        mode: ``threads`` runs ``async`` tasks in threads' company all the same; ``async`` starts
            no task threads; ``auto`` starts both.
        prefetch_multiplier: deliveries held per slot and queue; ``None`` is the setting, or 1.
        max_tasks: drain by itself after so many runs.
    """

    def __init__(
        self,
        app: App,
        *,
        name: str = "worker",
        queues: Sequence[str] | None = None,
        concurrency: int | None = None,
        mode: str = "auto",
        prefetch_multiplier: int | None = None,
        max_tasks: int | None = None,
    ) -> None:
        self.app = app
        self.name = name
        self.worker_id = f"{name}-{secrets.token_hex(6)}"
        self.context: dict[str, Any] = {}
        self.concurrency = concurrency or app.settings.workers.default_concurrency
        multiplier = prefetch_multiplier or app.settings.workers.prefetch_multiplier or 1
        self._prefetch = self.concurrency * multiplier
        self._only = None if queues is None else tuple(queues)
        self._mode = mode
        self._max_tasks = max_tasks
        self.timers = Timers()
        self._loop = LoopExecutor(self)
        self.dispatcher = Dispatcher(self.concurrency, self._loop.begin)
        self._threads = ThreadExecutor(self, 0 if mode == "async" else self.concurrency)
        self.settlement = Settlement(self)
        self._intake = Intake(self)
        self._lifespans = Lifespans()
        self._consumer: Consumer | None = None
        self._credit = Credit(self._prefetch, self._ask_for_more)
        self._subscription: Subscription | None = None
        self._lock = threading.Lock()
        self._running: dict[str, Running] = {}
        self._fresh: dict[str, Running] = {}
        self._is_announcing = False
        #: The last news of runs that have just ended, until settlement writes it.
        self._unwritten: dict[str, Progress] = {}
        self._open_count = 0
        self._is_idle = threading.Condition(self._lock)
        self._waiting_thread_count = 0
        #: Ids revoked of late, for those that were claimed before and have not started yet.
        self._revoked: dict[str, None] = {}
        self._queues: dict[str, int] = {}
        self._bound: dict[tuple[int, bool], tuple[int, Bound]] = {}
        #: By task, for runs without options of their own: settings do not change under a worker.
        self._options: dict[str, RunOptions] = {}
        self._ended = threading.Event()
        self._stop_lock = threading.Lock()
        self._stop_reason = "stopped"
        self.is_draining = False
        self._is_closing = False
        self.done_count = 0
        self.counts: Counter[str] = Counter()

    # -- life ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Enter the lifespans, declare the queues and begin to consume.

        Raises:
            BrokerUnavailable: RabbitMQ does not answer.
            TopologyMismatch: a queue exists with other arguments.
            ConfigError: two lifespans yield the same key.
        """
        try:
            self._start()
        except BaseException:
            self._close()
            self._ended.set()
            raise

    def _start(self) -> None:
        broker = self.app.broker
        self.app.name = f"cifra worker {self.name}"
        broker.boot()
        broker.emit_before("worker_boot", self)
        self._loop.start()
        self.context = self._loop.run(self._lifespans.enter())
        queues = sorted(self.app.queues_named()) if self._only is None else list(self._only)
        if queues:
            self.app.declare(queues)
        self._subscription = self.app.store.subscribe(
            self.app.control_channel, self._on_control, self._ask_what_was_revoked
        )
        self._threads.start()
        # Before the first claim: that of a worker nobody has heard of counts as that of a dead one.
        ttl_ms = int(self.app.settings.worker_ttl * 1000)
        self.app.commit.submit([Beat(self.worker_id, "{}", ttl_ms)])
        if queues:
            self._consume(queues)
        if self._only is None:
            self.app.on_declared_queue(self._on_new_queue)
        broker.emit_after("worker_boot", self)

    def stop(self, grace_s: float | None = None) -> None:
        """Drain, then end. Safe to call twice; returns when it has ended.

        Args:
            grace_s: seconds that running tasks get; ``None`` waits for as long as they take.
                What still runs then is interrupted and given back: an interruption uses no attempt.
        """
        with self._stop_lock:
            if self._ended.is_set():
                return
            self.dispatcher.pause()
            self.is_draining = True
            broker = self.app.broker
            broker.emit_before("worker_shutdown", self)
            if self._consumer is not None:
                self._consumer.cancel(timeout_s=10)
            self.give_back(self.dispatcher.drain())
            if not self._wait_idle(grace_s):
                self.hurry()
                self._wait_idle(_LAST_WORDS_S)
            self._is_closing = True
            self._close()
            broker.emit_after("worker_shutdown", self)
            self._ended.set()

    def hurry(self) -> None:
        """Interrupt what runs and give it back. May be called while ``stop`` waits."""
        for running in list(self._running.values()):
            self._interrupt(running, "shutdown")

    def wait(self) -> str:
        """Wait until it has ended; why it did."""
        self._ended.wait()
        return self._stop_reason

    def pause(self) -> None:
        """Start nothing more until ``resume``; what runs goes on."""
        self.dispatcher.pause()

    def resume(self) -> None:
        """Start tasks again."""
        self.dispatcher.resume()

    # -- facts ---------------------------------------------------------------------------------

    @property
    def is_connected(self) -> bool:
        """Whether every queue is consumed right now."""
        return self._consumer is None or self._consumer.is_connected

    def running(self) -> list[dict[str, Any]]:
        """The attempts being run: task, id, since and last ``heartbeat()`` (ms since the epoch)."""
        return [
            {
                "task": each.attempt.message.actor_name,
                "id": each.attempt.message.message_id,
                "since": each.attempt.started_at,
                "heartbeat": each.beat_at,
            }
            for each in list(self._running.values())
        ]

    def pulses(self) -> Mapping[str, Callable[[Callable[[], None]], object]]:
        """Ways to ask the vital threads for a sign of life; those that end by plan are well."""
        parts: dict[str, Callable[[Callable[[], None]], object]] = {
            "event loop": lambda answer: self._loop.post(lambda _: answer(), None),
            "timers": lambda answer: self.timers.call_later(0, answer),
            "store": lambda answer: self.app.commit.submit([], lambda _: answer()),
        }

        def unless_closing(ask: Callable[[Callable[[], None]], object]) -> Any:
            return lambda answer: answer() if self._is_closing else ask(answer)

        return {name: unless_closing(ask) for name, ask in parts.items()}

    def names_like(self, name: str) -> list[str]:
        """Known task names that resemble one that is not known."""
        return difflib.get_close_matches(name, self.app.broker.actors, n=3)

    # -- what a task is ------------------------------------------------------------------------

    def chain_of(self, attempt: Attempt) -> Chain:
        """The policies bound to the attempt's task."""
        return self._bound_to(attempt).chain

    def hooks_of(self, attempt: Attempt) -> DramatiqHooks | None:
        """Dramatiq's hooks, where any have seen the attempt."""
        return None if attempt.proxy is None else self._bound_to(attempt).hooks

    def options_of(
        self, actor: dramatiq.Actor[Any, Any], message_options: dict[str, Any]
    ) -> RunOptions:
        """What holds for a run of a task with the options of its message.

        Raises:
            DecodeError: an option of the message is unknown or has a bad value.
        """
        if isinstance(actor, Task):
            overrides = message_options.get("set")
            if overrides:
                try:
                    return actor.resolved(actor.check_call_options(overrides))
                except (OptionError, AttributeError) as error:
                    raise DecodeError(f"an option of the message: {error}") from error
            found = self._options.get(actor.actor_name)
            if found is None:
                found = self._options[actor.actor_name] = actor.resolved()
            return found
        # Dramatiq's middleware carries these rules; only an async actor's limit is ours to keep,
        # since raising in the event loop's thread would hit whichever task runs there.
        limit_ms = None
        if self.is_async(actor):
            declared = actor.options.get("time_limit", 600_000)
            limit_ms = message_options.get("time_limit", declared)
            if limit_ms is not None and not isinstance(limit_ms, int | float):
                raise DecodeError(f"option 'time_limit' of the message is {limit_ms!r}")
        return RunOptions(
            store_result=False, timeout_s=None if limit_ms is None else limit_ms / 1000
        )

    def can_run(self, actor: dramatiq.Actor[Any, Any]) -> bool:
        """Whether an executor of this worker can: mode ``async`` has no thread for plain ones."""
        return self._mode != "async" or self.is_async(actor)

    def is_async(self, actor: dramatiq.Actor[Any, Any]) -> bool:
        """Whether the event loop runs it."""
        if isinstance(actor, Task):
            return actor.is_async
        return getattr(actor.fn, "__code__", None) is _BRIDGE

    def _bound_to(self, attempt: Attempt) -> Bound:
        broker = self.app.broker
        has_pipe = "pipe_target" in attempt.message.options
        key = (id(attempt.actor), has_pipe)
        found = self._bound.get(key)
        if found is not None and found[0] == broker.middleware_version:
            return found[1]
        bound = bind(
            broker,
            self.app.settings,
            attempt.actor,
            is_async=attempt.is_async,
            has_pipe=has_pipe,
        )
        self._bound[key] = (broker.middleware_version, bound)
        return bound

    # -- the way of an attempt -----------------------------------------------------------------

    def taken(self, count: int) -> None:
        """Attempts have come in."""
        with self._lock:
            self._open_count += count

    def settled(self, count: int) -> None:
        """Attempts have ended, one way or another."""
        with self._lock:
            self._open_count -= count
            if self._open_count <= 0:
                self._is_idle.notify_all()

    def ready(self, attempts: list[Attempt]) -> None:
        """Claimed attempts may run, unless the worker is leaving."""
        if self.is_draining:
            self.give_back(attempts)
        else:
            self.dispatcher.offer(attempts)

    def refusal_of(self, attempt: Attempt) -> Outcome | None:
        """What ends a claimed attempt before its function is called."""
        if self._revoked and attempt.message.message_id in self._revoked:
            error = TaskRevoked("it was revoked before it started")
            return Ended(TaskState.REVOKED, error)
        return self.chain_of(attempt).before(attempt)

    def begin(self, attempt: Attempt) -> Running:
        """An attempt's function is about to be called."""
        running = Running(attempt, self)
        attempt.started_at = now_ms()
        self._running[attempt.token] = running
        self._fresh[attempt.token] = running
        if not self._is_announcing:
            self._is_announcing = True
            self.timers.call_later(_ANNOUNCE_S, self._announce)
        return running

    def started(self, attempt: Attempt) -> Started:
        """What tells the store that an attempt runs, or is about to."""
        return Started(
            attempt.message.message_id,
            attempt.token,
            self.worker_id,
            attempt.retries + 1,
            attempt.started_at or now_ms(),
        )

    def news_of(self, running: Running) -> list[Operation]:
        """What tells the store that a run has begun, unless it was told or is over."""
        attempt = running.attempt
        if self._fresh.pop(attempt.token, None) is None:
            return []
        log.info(
            "task state",
            task_id=attempt.message.message_id,
            task=attempt.message.actor_name,
            queue=attempt.delivery.queue,
            attempt=attempt.retries + 1,
            **{"from": "queued", "to": "running"},
        )
        return [self.started(attempt)]

    def end(self, running: Running) -> None:
        """The function has returned or raised."""
        token = running.attempt.token
        self._running.pop(token, None)
        self._fresh.pop(token, None)
        news = running.take_progress()
        if news is not None:
            self._unwritten[token] = news

    def last_progress(self, attempt: Attempt) -> Progress | None:
        """News that a run left unwritten: never dropped."""
        return self._unwritten.pop(attempt.token, None) if self._unwritten else None

    def count(self, state: TaskState) -> None:
        """An outcome was decided."""
        self.counts[str(state)] += 1
        if state in FINAL_STATES or state is TaskState.RETRYING:
            self.done_count += 1
            if self._max_tasks is not None and self.done_count == self._max_tasks:
                self._leave("max_tasks")

    def give_back(self, attempts: list[Attempt]) -> None:
        """Release claims and requeue: somebody else runs them, and no attempt was used."""
        acked = [attempt for attempt in attempts if attempt.is_acked]
        if acked:
            # At most once was asked for: nobody may run it again, and somebody should know.
            error = WorkerLost("its worker stopped, and acks='early' is at most once")
            self.settlement.settle([(a, Dead(error, "worker_lost")) for a in acked])
            attempts = [attempt for attempt in attempts if not attempt.is_acked]
        if not attempts:
            return

        def requeue(_: Any) -> None:
            for attempt in attempts:
                attempt.consumer.requeue([attempt.delivery])
            self.settled(len(attempts))

        releases = [Release(a.message.message_id, a.token) for a in attempts]
        self.app.commit.submit(releases, requeue)

    def buried(
        self,
        delivery: Delivery,
        consumer: Consumer,
        record: FailureRecord,
        message: dramatiq.Message[Any] | None,
        error: BaseException,
    ) -> None:
        """Dead-letter what never became an attempt, and let Dramatiq's observers know."""
        if message is None:
            self.settlement.bury(delivery, consumer, record)
            return
        broker = self.app.broker
        proxy = MessageProxy(message)
        proxy.fail()
        proxy.stuff_exception(error)

        def then() -> None:
            with carrying():
                broker.emit_after("nack", proxy)
            proxy.clear_exception()
            self.app.commit.submit([self._failed_unrun(message, record, error)], keep=True)

        with carrying():
            broker.emit_before("nack", proxy)
        self.settlement.bury(delivery, consumer, record, then=then)

    def _failed_unrun(
        self, message: dramatiq.Message[Any], record: FailureRecord, error: BaseException
    ) -> Finish:
        now = now_ms()
        return Finish(
            task_id=message.message_id,
            token="",
            state=TaskState.FAILED,
            round=message.options.get("round", 0),
            task_name=message.actor_name,
            queue=record.queue,
            worker=self.worker_id,
            attempts=0,
            created_at=message.message_timestamp,
            started_at=None,
            now=now,
            eta=None,
            result=None,
            result_ttl_ms=0,
            error=dumps(describe(error, task=message.actor_name), "error").decode(),
            handed_over=True,
            ttl_ms=int(self.app.settings.history_retention * 1000),
        )

    # -- waiting for other tasks ---------------------------------------------------------------

    def lend(self, running: Running, *, is_async: bool) -> None:
        """A run waits for another task: free its slot, and ask for one delivery more.

        Several waits of one run at a time lend its one slot.

        Raises:
            WouldDeadlock: it blocks the event loop, or a thread while every other slot is blocked
                the same way.
        """
        is_native = running.attempt.is_async
        if is_native and not is_async and self._loop.is_current:
            raise WouldDeadlock(
                f"{running.request.task} blocks the event loop to wait for another task, and with"
                " it every async task of this worker; await handle.get() instead"
            )
        with self._lock:
            if not running.wait_count and not is_native:
                if self._waiting_thread_count + 1 >= self.concurrency:
                    raise WouldDeadlock(
                        f"{running.request.task} waits inside a thread for another task, and all"
                        f" {self.concurrency} slots of {self.name} would wait the same way; use an"
                        " async task and await the handle, or on_success"
                    )
                self._waiting_thread_count += 1
            running.wait_count += 1
            is_lent = is_native and running.wait_count == 1
        if is_lent:
            self._credit.lend()
            self.dispatcher.lend()

    def reclaim(self, running: Running) -> None:
        """The wait is over."""
        is_native = running.attempt.is_async
        with self._lock:
            running.wait_count -= 1
            if running.wait_count:
                return
            if not is_native:
                self._waiting_thread_count -= 1
        if is_native:
            self._credit.reclaim()
            self.dispatcher.reclaim()

    # -- inside --------------------------------------------------------------------------------

    def emit_thread_hook(self, hook: str, thread: threading.Thread) -> None:
        """Tell Dramatiq's middleware of a task thread's start or end."""
        moment, _, signal = hook.partition("_")
        broker = self.app.broker
        emit = broker.emit_after if moment == "after" else broker.emit_before
        emit(signal, thread)

    def _consume(self, queues: list[str]) -> None:
        prefetch = dict.fromkeys(queues, self._prefetch)
        self._queues.update(prefetch)
        if self._consumer is not None:
            self._consumer.extend(prefetch)
            return
        box: list[Consumer] = []
        is_known = threading.Event()

        def on_deliveries(deliveries: list[Delivery]) -> None:
            # The first read may be faster than consume() returns.
            is_known.wait()
            self._intake.take(deliveries, box[0])

        try:
            self._consumer = self.app.transport.consume(prefetch, on_deliveries)
            box.append(self._consumer)
        finally:
            is_known.set()

    def _ask_for_more(self, count: int) -> Extension:
        if self._consumer is None:
            raise RuntimeError("a run waits in a worker that consumes nothing")
        return self._consumer.extend(dict.fromkeys(self._queues, count))

    def _on_new_queue(self, queue: str) -> None:
        if self._only is None:
            # Not here: whoever declares a task must not wait for the broker, nor hear of its loss.
            self.app.redeclare((), partial(self._consume_new, queue))

    def _consume_new(self, queue: str) -> None:
        # Beside the one that was named, those that the settings route its tasks to.
        new = sorted(({queue} | self.app.queues_named()) - self._queues.keys())
        if not new or self.is_draining:
            return
        try:
            self.app.declare(new)
        except BrokerUnavailable:
            self.timers.call_later(_ASK_AGAIN_S, partial(self._on_new_queue, queue))
        except BrokerError:
            log.exception("new queues cannot be consumed", queues=new)
        else:
            self._consume(new)

    def _announce(self) -> None:
        """Tell the store of the runs that have begun and not ended yet."""
        self._is_announcing = False
        started = [op for running in list(self._fresh.values()) for op in self.news_of(running)]
        if started:
            self.app.commit.submit(started)

    def _on_control(self, payload: str) -> None:
        try:
            signal = orjson.loads(payload)
            ids = set(signal["revoke"])
            is_forced = bool(signal["terminate"])
        except (ValueError, KeyError, TypeError):
            log.warning("a control signal cannot be read", payload=payload[:200])
            return
        self._note_revoked(ids, is_forced=is_forced)

    def _ask_what_was_revoked(self) -> None:
        """Signals were missed: look at the flags of all that is held here."""
        held = [each.attempt for each in list(self._running.values())] + self.dispatcher.waiting()
        ids = [attempt.message.message_id for attempt in held]

        def done(replies: Any) -> None:
            if not isinstance(replies, StoreUnavailable):
                revoked = {record.task_id for record in replies if record and record.revoked}
                self._note_revoked(revoked, is_forced=False)

        if ids:
            self.app.commit.submit([Get(task_id) for task_id in ids], done)

    def _note_revoked(self, ids: set[str], *, is_forced: bool) -> None:
        self._revoked.update(dict.fromkeys(ids))
        while len(self._revoked) > _REVOKED_KEPT:
            del self._revoked[next(iter(self._revoked))]
        for running in list(self._running.values()):
            if running.attempt.message.message_id in ids:
                running.is_cancelled = True
                if is_forced:
                    self._interrupt(running, "revoked")

    def _interrupt(self, running: Running, reason: str) -> None:
        running.is_cancelled = True
        if running.attempt.is_async:
            self._loop.post(lambda _: self._loop.interrupt(running, reason), None)
        else:
            interrupt_thread(running, reason)

    def _leave(self, reason: str) -> None:
        self._stop_reason = reason
        self.dispatcher.pause()
        threading.Thread(target=self.stop, name="cifra-leave", daemon=True).start()

    def _wait_idle(self, timeout_s: float | None) -> bool:
        with self._lock:
            return self._is_idle.wait_for(lambda: self._open_count <= 0, timeout_s)

    def _close(self) -> None:
        self.dispatcher.close()
        self._threads.join(_LAST_WORDS_S)
        if self._loop.is_running:
            try:
                self._loop.run(self._lifespans.leave())
            except Exception:
                log.exception("a worker lifespan failed while it was left")
        self._loop.stop()
        self.app.commit.submit([Gone(self.worker_id)])
        self.app.commit.flush(_LAST_WORDS_S)
        if self._consumer is not None:
            self._consumer.close(timeout_s=10)
        if self._subscription is not None:
            self._subscription.close()
        self.app.forget_queue_listener(self._on_new_queue)
        self.timers.close()
